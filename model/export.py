"""The acoustic model as an ONNX graph, for ONNX Runtime and whatever else reads ONNX.

Shape legend: B batch, T feature frames, S subsampled frames, F feature bins, C channels, D width, H hidden size,
O outputs: `AcousticModelConfig.columns`.

    inputs   features (B, T, F) float32, lengths (B) int64
    outputs  log_probs (B, S, O) float32, output_lengths (B) int64

Batch, time and lengths may vary from call to call, and rows of a batch do not touch each other. The graph is written
out here operator by operator rather than traced: ONNX's own bidirectional LSTM takes the lengths of its rows, so that
what `model.lstm` does with two flips is one operator, which runtimes have fast kernels and a quantised form for.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from model.acoustic_model import STRIDES, AcousticModel
from model.errors import OptionError
from model.phones import N_PHONES
from model.quantization import quantize_onnx
from model.speller import delays

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8  # that of the same release, so that runtimes of the time read it


def export_onnx(model: AcousticModel) -> onnx.ModelProto:
    """The graph of `model` in evaluation mode, float32 (`AcousticModel.forward`; equal to 1e-4, tested)."""
    graph = _Graph({name: tensor.detach().float().cpu() for name, tensor in model.state_dict().items()})
    config = model.config
    x, lengths = _masked_features(graph, config.utterance_mean), "lengths"
    for number, stride in enumerate(STRIDES[config.subsampling], 1):
        name = f"subsampling.conv{number}"
        weight = _masking_kernel(graph) if number == 1 else graph.weight(f"{name}.weight")
        if number == 3:
            x = _masked_frames(graph, x, lengths)
        weights = [weight, graph.weight(f"{name}.bias")]
        x = graph.add("Conv", [x, *weights], kernel_shape=[3, 3], strides=stride, pads=[1, 1, 1, 1])
        x = graph.add("Relu", [x])
        rounding, divisor = graph.integer(stride[0] - 1), graph.integer(stride[0])
        lengths = graph.add("Div", [graph.add("Add", [lengths, rounding]), divisor])
    x = graph.add("Transpose", [x], perm=[2, 0, 1, 3])  # S, B, C, F: ONNX's LSTM has time first
    x = graph.add("Reshape", [x, graph.integers(0, 0, -1)])
    x = _linear(graph, x, "subsampling.projection")
    row_lengths = graph.add("Cast", [lengths], to=TensorProto.INT32)
    for layer in range(config.n_layers):
        normed = _layer_norm(graph, x, f"layers.{layer}.norm") if config.layer_norm else x
        directions = [f"layers.{layer}.lstm.{direction}_lstm" for direction in ("forward", "backward")]
        y = _lstm(graph, normed, directions, row_lengths, config.hidden_size)
        x = graph.add("Add", [x, y])
    heads = [("norm", "head"), ("phone_norm", "phone_head")][: 2 if config.n_phones else 1]
    judged = []
    for norm, head in heads:
        logits = _linear(graph, _layer_norm(graph, x, norm) if config.layer_norm else x, head)
        log_probs = graph.add("LogSoftmax", [logits], axis=-1)
        judged.append(graph.add("Transpose", [log_probs], perm=[1, 0, 2]))
    if config.spelling_layers:
        judged.insert(1, _spelled(graph, judged[1], judged[0], lengths, config.spelling_layers))
    graph.add("Concat", judged, output="log_probs", axis=-1)
    graph.add("Identity", [lengths], output="output_lengths")
    return graph.build(config.n_features, config.n_outputs)


def write_onnx(model: AcousticModel, path: str | os.PathLike[str], *, int8: bool = False) -> int:
    """Export to a file, in one step; returns its size in bytes.

    Raises:
        OptionError: `path` does not end in .onnx.
        OSError: it cannot be written.
    """
    target = Path(path)
    if target.suffix != ".onnx":
        raise OptionError(f"{target} does not end in .onnx, by which runtimes know the format")
    exported = export_onnx(model)
    onnx.checker.check_model(exported)  # others read the file; a server's own graphs need not wait for it
    content = (quantize_onnx(exported) if int8 else exported).SerializeToString()
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        scratch.write_bytes(content)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return len(content)


class _Graph:
    """Nodes and constants as they are added; every value is known by the name that `add` returns."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=f"{name}/node", **attributes))
        return name

    def weight(self, name: str, *, transposed: bool = False) -> str:
        tensor = self._weights[name]
        return self.constant(f"{name}.T" if transposed else name, (tensor.T if transposed else tensor).numpy())

    def constant(self, name: str, array: np.ndarray) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def integer(self, value: int) -> str:
        return self.constant(f"scalar_{value}", np.array(value, np.int64))

    def integers(self, *values: int) -> str:
        return self.constant("vector_" + "_".join(map(str, values)), np.array(values, np.int64))

    def state(self, name: str) -> Tensor:
        return self._weights[name]

    def build(self, n_features: int, n_outputs: int) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self._nodes,
            "cepstra acoustic model",
            [
                value("features", TensorProto.FLOAT, ["batch", "frames", n_features]),
                value("lengths", TensorProto.INT64, ["batch"]),
            ],
            [
                value("log_probs", TensorProto.FLOAT, ["batch", "output_frames", n_outputs]),
                value("output_lengths", TensorProto.INT64, ["batch"]),
            ],
            list(self._constants.values()),
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="cepstra"
        )


def _masked_features(graph: _Graph, utterance_mean: bool) -> str:
    """Two channels, (B, 2, T, F).

    The features, zero beyond each length, and less their row's mean where the model asks for it; and 0 in each row's
    length, 1 beyond.
    """
    inside = _inside(graph, "features", "lengths")
    # Where and not a product: what stands beyond the length may be anything, also infinite.
    zero = graph.constant("zero", np.array(0, np.float32))
    features = graph.add("Where", [inside, "features", zero])
    if utterance_mean:
        total = graph.add("ReduceSum", [features, graph.integers(1)], keepdims=1)
        count = graph.add("Cast", [graph.add("Max", ["lengths", graph.integer(1)])], to=TensorProto.FLOAT)
        mean = graph.add("Div", [total, graph.add("Unsqueeze", [count, graph.integers(1, 2)])])
        features = graph.add("Where", [inside, graph.add("Sub", [features, mean]), zero])
    beyond = graph.add("Cast", [graph.add("Not", [inside])], to=TensorProto.FLOAT)
    beyond = graph.add("Expand", [beyond, graph.add("Shape", [features])])
    channels = [graph.add("Unsqueeze", [channel, graph.integers(1)]) for channel in (features, beyond)]
    return graph.add("Concat", channels, axis=1)


def _masked_frames(graph: _Graph, x: str, lengths: str) -> str:
    """(B, C, T, F), zero beyond each length: what a third convolution has to find there."""
    n_frames = graph.add("Squeeze", [graph.add("Shape", [x], start=2, end=3)])
    frames = graph.add("Range", [graph.integer(0), n_frames, graph.integer(1)])
    inside = graph.add("Less", [frames, graph.add("Unsqueeze", [lengths, graph.integers(1)])])
    inside = graph.add("Unsqueeze", [inside, graph.integers(1, 3)])
    return graph.add("Where", [inside, x, graph.constant("zero", np.array(0, np.float32))])


def _spelled(graph: _Graph, phones: str, letters: str, lengths: str, n_layers: int) -> str:
    """What `model.speller` makes of both, (B, S, ·)."""
    zero, nothing = graph.constant("zero", np.array(0, np.float32)), graph.integers(0)
    n_frames = graph.add("Shape", [phones], start=1, end=2)
    heard = graph.add("Where", [_inside(graph, phones, lengths), graph.add("Exp", [phones]), zero])
    odd = graph.add("Mod", [n_frames, graph.integers(2)])
    heard = graph.add("Pad", [heard, graph.add("Concat", [graph.integers(0, 0, 0, 0), odd, nothing], axis=0)])
    pairs = graph.add("Reshape", [heard, graph.integers(0, -1, 2 * N_PHONES)])
    x = _linear(graph, pairs, "speller.inputs")
    halved = graph.add("Div", [graph.add("Add", [lengths, graph.integer(1)]), graph.integer(2)])
    inside = _inside(graph, x, halved)
    for layer, delay in enumerate(delays(n_layers)):
        name = f"speller.layers.{layer}"
        normed = graph.add("Where", [inside, _layer_norm(graph, x, f"{name}.norm"), zero])
        padded = graph.add("Pad", [normed, graph.integers(0, delay, 0, 0, delay, 0)])
        axis = graph.integers(1)
        before = graph.add("Slice", [padded, nothing, graph.integers(-2 * delay), axis])
        after = graph.add("Slice", [padded, graph.integers(2 * delay), graph.integers(np.iinfo(np.int64).max), axis])
        seen = graph.add("Concat", [before, normed, after], axis=-1)
        x = graph.add("Add", [x, graph.add("Relu", [_linear(graph, seen, f"{name}.linear")])])
    logits = _linear(graph, _layer_norm(graph, x, "speller.norm"), "speller.head")
    vocabulary_size = len(graph.state("head.bias"))
    logits = graph.add("Reshape", [logits, graph.integers(0, -1, vocabulary_size)])
    logits = graph.add("Slice", [logits, nothing, n_frames, graph.integers(1)])
    heard_letters = graph.add("Mul", [letters, graph.weight("speller.share")])
    return graph.add("LogSoftmax", [graph.add("Add", [logits, heard_letters])], axis=-1)


def _inside(graph: _Graph, x: str, lengths: str) -> str:
    """Which frames of (B, S, ·) lie within their row's length, (B, S, 1)."""
    n_frames = graph.add("Squeeze", [graph.add("Shape", [x], start=1, end=2)])
    frames = graph.add("Range", [graph.integer(0), n_frames, graph.integer(1)])
    inside = graph.add("Less", [frames, graph.add("Unsqueeze", [lengths, graph.integers(1)])])
    return graph.add("Unsqueeze", [inside, graph.integers(2)])


def _masking_kernel(graph: _Graph) -> str:
    """The first convolution's kernel, with a second input channel that silences every frame beyond a row's length.

    Output frame t lies within the length where input frame 2t does, so a large negative weight in the middle of the
    kernel, and the ReLU behind it, do what a mask between the convolutions would; that would cost more than both of
    them, because it keeps ONNX Runtime from staying in the layout of its convolutions.
    """
    kernel_C133 = graph.state("subsampling.conv1.weight")
    silencer_C133 = torch.zeros_like(kernel_C133)
    silencer_C133[:, :, 1, 1] = -1e9
    return graph.constant("subsampling.conv1.masking", torch.cat([kernel_C133, silencer_C133], dim=1).numpy())


def _linear(graph: _Graph, x: str, name: str) -> str:
    product = graph.add("MatMul", [x, graph.weight(f"{name}.weight", transposed=True)])
    return graph.add("Add", [product, graph.weight(f"{name}.bias")])


def _layer_norm(graph: _Graph, x: str, name: str) -> str:
    weights = [graph.weight(f"{name}.{part}") for part in ("weight", "bias")]
    return graph.add("LayerNormalization", [x, *weights], axis=-1, epsilon=torch.nn.LayerNorm(1).eps)


def _lstm(graph: _Graph, x: str, directions: Sequence[str], lengths: str, hidden_size: int) -> str:
    """Both directions of one layer; (S, B, D) → (S, B, 2H)."""

    def stacked(parts: Sequence[str]) -> np.ndarray:
        rows = [torch.cat([_onnx_gates(graph.state(f"{name}.{part}_l0")) for part in parts]) for name in directions]
        return np.asarray(torch.stack(rows).numpy())

    prefix = directions[0].rpartition(".")[0]
    weights = [
        graph.constant(f"{prefix}.W", stacked(["weight_ih"])),
        graph.constant(f"{prefix}.R", stacked(["weight_hh"])),
        graph.constant(f"{prefix}.B", stacked(["bias_ih", "bias_hh"])),
    ]
    y = graph.add("LSTM", [x, *weights, lengths], direction="bidirectional", hidden_size=hidden_size)
    y = graph.add("Transpose", [y], perm=[0, 2, 1, 3])
    return graph.add("Reshape", [y, graph.integers(0, 0, -1)])


def _onnx_gates(parameter_4H: Tensor) -> Tensor:
    """Rows in torch's order, i, f, g, o → in ONNX's, i, o, f, g."""
    i, f, g, o = parameter_4H.chunk(4)
    return torch.cat([i, o, f, g])
