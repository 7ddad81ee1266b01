"""A Gemm between two Reshapes becomes a MatMul of the value as it was."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from gossamer.graph.match import constant, sole_consumer
from gossamer.graph.weights import constant_input


def gemm_of_rows(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with `Reshape(Gemm(Reshape(x), w, b))` as `Add(MatMul(x, w), b)`.

    The layers of GPT-2 are written so: all tokens of all sentences as rows of one matrix. Where
    the first Reshape joins heads too, x is reshaped to what comes out at the end, but for its last
    axis; onnxscript's fusion of attention takes such a Reshape to do just that (0.7.2).
    """
    for node in list(model.graph):
        if node.op_type == "Gemm" and not node.domain:
            _rewrite(node, model.graph)
    return model


def _rewrite(gemm: ir.Node, graph: ir.Graph) -> None:
    weight = constant(gemm.inputs[1])
    before = gemm.inputs[0].producer() if gemm.inputs[0] is not None else None
    after = sole_consumer(gemm.outputs[0])
    if weight is None or not _is_plain(gemm) or before is None or after is None:
        return
    if before.op_type != "Reshape" or after.op_type != "Reshape" or before.inputs[0] is None:
        return
    transposed = bool(gemm.attributes.get_int("transB", 0))
    outputs, inputs = (int(d) for d in weight.shape.numpy()[:: 1 if transposed else -1])
    source, result = before.inputs[0], after.outputs[0]
    rows = _leading(result, outputs)
    if rows is None or source.shape is None or tuple(source.shape)[: len(rows)] != rows:
        return
    if _width(gemm.inputs[0]) != inputs or any(d is None for d in rows):
        return
    name = gemm.name or ""
    if len(source.shape) != len(rows) + 1:  # zeros copy the leading axes
        shape = constant_input(graph, f"{name}_rows", np.array([0] * len(rows) + [-1], np.int64))
        joined = ir.node("Reshape", [source, shape], name=f"{name}_joined")
        graph.insert_before(gemm, joined)
        source = _typed(joined, f"{name}_joined", result, (*rows, inputs))
    matrix = gemm.inputs[1]
    if transposed and matrix is not None:
        content = np.ascontiguousarray(weight.numpy().T)
        matrix = constant_input(graph, f"{matrix.name}_transposed", content)
    product = ir.node("MatMul", [source, matrix], name=name)
    graph.insert_before(gemm, product)
    last, bias = product, gemm.inputs[2] if len(gemm.inputs) > 2 else None
    if bias is not None:
        _typed(product, f"{name}_product", result, (*rows, outputs))
        last = ir.node("Add", [product.outputs[0], bias], name=f"{name}_bias")
        graph.insert_before(gemm, last)
    value = last.outputs[0]
    value.shape, value.type = result.shape, result.type
    ir.convenience.replace_all_uses_with(result, value, replace_graph_outputs=True)
    value.name, result.name = result.name, f"{result.name}_reshaped"
    graph.remove([after, gemm], safe=True)


def _is_plain(gemm: ir.Node) -> bool:
    factors = (gemm.attributes.get_float(key, 1.0) for key in ("alpha", "beta"))
    bias = constant(gemm.inputs[2]) if len(gemm.inputs) > 2 else None
    is_row = len(gemm.inputs) < 3 or (bias is not None and len(bias.shape) <= 1)
    return is_row and not gemm.attributes.get_int("transA", 0) and set(factors) == {1.0}


def _leading(value: ir.Value, last: int) -> tuple[object, ...] | None:
    """The axes in front of the last one, which has `last` numbers; at least two of them."""
    if value.shape is None or len(value.shape) < 3 or value.shape[-1] != last:
        return None
    return tuple(value.shape)[:-1]


def _width(value: ir.Value | None) -> object:
    """Of a matrix; None if that is not known, or it is none."""
    if value is None or value.shape is None or len(value.shape) != 2:
        return None
    return value.shape[1]


def _typed(node: ir.Node, name: str, like: ir.Value, shape: tuple[object, ...]) -> ir.Value:
    value = node.outputs[0]
    value.name, value.type = name, like.type
    value.shape = ir.Shape(shape)  # type: ignore[arg-type]
    return value
