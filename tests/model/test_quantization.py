"""Quantising by ourselves against ONNX Runtime's own tool."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from model.acoustic_model import AcousticModel, AcousticModelConfig
from model.export import export_onnx
from model.quantization import quantize_onnx


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the tool
def test_it_is_what_the_tool_makes(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    torch.manual_seed(5)
    model = AcousticModel(AcousticModelConfig(n_features=20, vocabulary_size=7, hidden_size=16, n_layers=2)).eval()
    with torch.no_grad():
        model.state_dict()["head.weight"][3] = 0.0  # a channel that has no scale
    exported = export_onnx(model)
    onnx.save(exported, tmp_path / "float.onnx")
    quantize_dynamic(
        tmp_path / "float.onnx",
        tmp_path / "tool.onnx",
        op_types_to_quantize=["LSTM", "MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    inputs = {
        "features": np.random.default_rng(1).normal(size=(2, 90, 20)).astype(np.float32),
        "lengths": np.array([90, 70]),
    }
    by_tool, by_us, exact = (
        onnxruntime.InferenceSession(content.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs)
        for content in (onnx.load(tmp_path / "tool.onnx"), quantize_onnx(exported), exported)
    )
    np.testing.assert_allclose(by_us[0], by_tool[0], atol=1e-4)
    np.testing.assert_array_equal(by_us[1], by_tool[1])
    assert np.abs(by_us[0][0] - exact[0][0]).max() > 1e-4  # it is rounded
