"""An ONNX graph with 8-bit weights: what `onnxruntime.quantization.quantize_dynamic` makes of ours, but at once.

That goes through every output channel of every matrix in Python, more than a second at each start of a server; its
result is the reference of the tests. Weights have a scale for each output channel and no zero point (symmetric, ±127).
Activations are quantised while the graph runs, with a scale for each call ("dynamic"): no calibration data is needed.
Source: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
CVPR 2018; the operators are ONNX's MatMulInteger and ONNX Runtime's DynamicQuantizeLSTM.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LARGEST = 127
CONTRIBUTED = "com.microsoft"  # domain of ONNX Runtime's own operators


def quantize_onnx(exported: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with the weights of LSTM and linear layers in 8 bits; they are 97 % of the multiplications.

    The convolutions see single bins and stay float. The log-probs of a row can depend, a little, on what stands beside
    it in a batch.
    """
    constants = {constant.name: constant for constant in exported.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in exported.graph.node:
        if node.op_type == "LSTM":
            nodes.append(_lstm(node, constants))
        elif node.op_type == "MatMul" and node.input[1] in constants:
            nodes += _product(node, constants)
        else:
            nodes.append(node)
    graph = helper.make_graph(
        nodes, exported.graph.name, exported.graph.input, exported.graph.output, list(constants.values())
    )
    opsets = [*exported.opset_import, helper.make_opsetid(CONTRIBUTED, 1)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=exported.ir_version, producer_name=exported.producer_name
    )


def _lstm(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> onnx.NodeProto:
    """DynamicQuantizeLSTM, whose matrices have an input's weights in each row."""
    x, weights, recurrent, bias, lengths = node.input
    (w, *w_scale), (r, *r_scale) = (_quantized(name, constants, transposed=True) for name in (weights, recurrent))
    inputs = [x, w, r, bias, lengths, "", "", "", *w_scale, *r_scale]  # without begin states and peepholes
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return helper.make_node(
        "DynamicQuantizeLSTM", inputs, list(node.output), name=node.name, domain=CONTRIBUTED, **attributes
    )


def _product(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> Iterator[onnx.NodeProto]:
    """The product as integers, and what they stand for; ONNX Runtime makes one operator of them."""
    x, weights = node.input
    (output,) = node.output
    integers, scale, zero_point = _quantized(weights, constants)
    parts = [f"{output}.{part}" for part in ("x", "x_scale", "x_zero_point", "integers", "floats", "scale")]
    x_integers, x_scale, x_zero_point, product, floats, both = parts
    yield helper.make_node("DynamicQuantizeLinear", [x], [x_integers, x_scale, x_zero_point])
    yield helper.make_node("MatMulInteger", [x_integers, integers, x_zero_point, zero_point], [product])
    yield helper.make_node("Cast", [product], [floats], to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [x_scale, scale], [both])
    yield helper.make_node("Mul", [floats, both], [output])


def _quantized(name: str, constants: dict[str, TensorProto], *, transposed: bool = False) -> tuple[str, str, str]:
    """Put integers, scales and zero points of the last axis in the place of a matrix; returns their names."""
    weights = numpy_helper.to_array(constants.pop(name))
    if transposed:
        weights = weights.swapaxes(-1, -2)
    largest = np.abs(weights).max(axis=-2)
    scale = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    integers = np.clip(np.rint(weights / scale[..., None, :]), -LARGEST, LARGEST).astype(np.int8)
    parts = {"integers": integers, "scale": scale, "zero_point": np.zeros(scale.shape, np.int8)}
    for part, array in parts.items():
        constants[f"{name}.{part}"] = numpy_helper.from_array(np.ascontiguousarray(array), f"{name}.{part}")
    integers_name, scale_name, zero_name = (f"{name}.{part}" for part in parts)
    return integers_name, scale_name, zero_name
