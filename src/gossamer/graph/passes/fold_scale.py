"""Constant factors behind a linear layer go into its weight."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.graph.match import constant, sole_consumer
from gossamer.graph.weights import constant_input


def fold_scale(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with `Mul(Add(MatMul(x, w), b), c)` as `Add(MatMul(x, w c), b c)`.

    The bias may be absent and c has one number, or one for each output: LayerScale, as in ConvNeXt
    and CaiT. What is scaled now keeps the name of the Mul's output.
    """
    for node in list(model.graph):
        if node.op_type == "Mul":
            _fold(node, model.graph)
    return model


def _fold(mul: ir.Node, graph: ir.Graph) -> None:
    found = _constant_operand(mul)
    if found is None or mul.outputs[0].is_graph_output():
        return
    source, factor = found
    last = source.producer()
    if last is None or sole_consumer(source) is not mul:
        return
    scaled: list[tuple[ir.Node, int]] = []
    product = last
    if last.op_type == "Add":
        operands = _constant_operand(last)
        maker = operands[0].producer() if operands is not None else None
        if operands is None or maker is None or sole_consumer(operands[0]) is not last:
            return
        scaled.append((last, 1 if last.inputs[0] is operands[0] else 0))
        product = maker
    weight = constant(product.inputs[1]) if product.op_type == "MatMul" else None
    if weight is None or len(weight.shape) != 2 or factor.size not in {1, weight.shape[1]}:
        return
    scaled.append((product, 1))
    for owner, index in scaled:
        _scale(owner, index, factor, graph)
        owner.outputs[0].name = f"{owner.outputs[0].name}_scaled"
    name = mul.outputs[0].name
    mul.outputs[0].replace_all_uses_with(source)
    graph.remove(mul, safe=True)
    source.name = name


def _constant_operand(node: ir.Node) -> tuple[ir.Value, NDArray[np.float32]] | None:
    """The computed operand, and the numbers of a constant float32 row that is the other."""
    for index in (1, 0):
        tensor, other = constant(node.inputs[index]), node.inputs[1 - index]
        if tensor is None or other is None or constant(other) is not None:
            continue
        row = tensor.numpy()
        rank = len(other.shape) if other.shape is not None else 1
        is_row = row.ndim == 0 or (row.size == row.shape[-1] and row.ndim <= rank)
        if row.dtype == np.float32 and is_row:
            return other, row.reshape(-1)
    return None


def _scale(node: ir.Node, index: int, factor: NDArray[np.float32], graph: ir.Graph) -> None:
    value = node.inputs[index]
    tensor = constant(value)
    if value is None or tensor is None:
        return
    array = np.asarray(tensor.numpy() * factor, np.float32)
    name = f"{value.name}_{node.name}_scaled"
    node.replace_input_with(index, constant_input(graph, name, array))
