"""What a Q/DQ file for TensorRT must keep to, read off its nodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from gossamer.plan import Plan

WEIGHT_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1}
ACTIVATIONS = {"Relu", "Clip", "LeakyRelu", "PRelu"}
FLOAT_ALONE = {"GlobalAveragePool", "LayerNormalization", "Softmax", "Erf", "Gelu", "Sigmoid"}


def faults(model: ir.Model, plan: Plan) -> list[str]:
    """What is wrong with a written file, each in one sentence; empty if it keeps to all rules."""
    nodes = {node.name: node for node in model.graph}
    found = [fault for node in model.graph for fault in _pair(node)]
    for decision in plan.quantized:
        node = nodes[decision.site]
        if decision.weight is not None:
            found += _weighted(node, decision.weight_axis)
        else:
            read = [_is_dequantized(v) for v in node.inputs]
            found += [] if sum(read) == 1 else [f"{node.name} reads {sum(read)} int8 operands"]
    return found


def _pair(node: ir.Node) -> Iterator[str]:
    if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
        return
    scale, zero = (value.const_value.numpy() for value in node.inputs[1:])
    if zero.dtype != np.int8 or zero.any():
        yield f"{node.name} has a zero point of {zero.dtype} that is not 0"
    if node.op_type == "QuantizeLinear":
        if scale.ndim:
            yield f"{node.name} has more than one scale"
        return
    quantize = node.inputs[0].producer()
    maker = quantize.inputs[0].producer() if quantize is not None else None
    for use in node.outputs[0].uses():
        if maker is not None and maker.op_type in WEIGHT_AXES and use.node.op_type in ACTIVATIONS:
            yield f"{quantize.name} stands between {maker.op_type} and its activation"
        if use.node.op_type in FLOAT_ALONE:
            yield f"{use.node.name} reads int8"


def _weighted(node: ir.Node, axis: int | None) -> Iterator[str]:
    if not _is_dequantized(node.inputs[0]):
        yield f"{node.name} reads floats"
    dequantize = node.inputs[1].producer()
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        yield f"{node.name} has a float weight"
        return
    is_turned = node.op_type == "Gemm" and node.attributes.get_int("transB", 0)
    wanted = 0 if is_turned else WEIGHT_AXES[node.op_type]
    scale = dequantize.inputs[1].const_value.numpy()
    if axis is None:
        if scale.ndim or node.attributes.get_int("group", 1) == 1:
            yield f"{node.name} has one scale for all channels"
    elif (axis, dequantize.attributes.get_int("axis", -1)) != (wanted, wanted) or scale.ndim != 1:
        yield f"{node.name} has scales along axis {axis}"
    for bias in node.inputs[2:]:
        if bias is not None and _is_dequantized(bias):
            yield f"{node.name} has an int bias"


def _is_dequantized(value: ir.Value | None) -> bool:
    """Whether a DQ makes a value, perhaps in front of a MaxPool."""
    maker = value.producer() if value is not None else None
    while maker is not None and maker.op_type == "MaxPool":
        maker = maker.inputs[0].producer()
    return maker is not None and maker.op_type == "DequantizeLinear"
