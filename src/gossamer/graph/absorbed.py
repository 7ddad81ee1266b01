"""Activations that a quantizer took out because the Q behind them cuts off the same numbers.

ONNX Runtime's quantizer removes a Relu, or a Clip that ends where the range ends, and lets the node
in front make the value behind. `gossamer.graph.passes.repeated_relu` removes a Relu, and lets the Q
read the value in front. Without that Q the node is missing, so it is put back before anything else.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from gossamer.graph.match import constant
from gossamer.graph.weights import constant_input

CUTTING = ("Relu", "Clip")


def restored(quantized: ir.Model, reference: ir.Model) -> ir.Model:
    """`quantized` (edited in place) with the nodes back that only its ranges stand for."""
    graph = quantized.graph
    made = {o.name: o for node in graph for o in node.outputs}
    for twin in reference.graph:
        inner = twin.inputs[0] if twin.op_type in CUTTING and not twin.domain else None
        if inner is None:
            continue
        outer = twin.outputs[0].name
        if outer in made:
            _restore_behind(graph, made[outer], twin, inner)
        elif inner.name in made:
            readers = [u for u in made[inner.name].uses() if _is_cut(u.node, twin)]
            fresh = _again(graph, twin, made[inner.name], outer)
            for use in readers:
                use.node.replace_input_with(use.idx, fresh)
    graph.sort()
    return quantized


def _restore_behind(graph: ir.Graph, value: ir.Value, twin: ir.Node, inner: ir.Value) -> None:
    """Behind a node that makes in one what two make in the float graph."""
    node, maker = value.producer(), inner.producer()
    if node is None or maker is None or node.op_type != maker.op_type:
        return
    name, value.name = value.name, inner.name
    readers = tuple(value.uses())
    fresh = _again(graph, twin, value, name)
    for use in readers:
        use.node.replace_input_with(use.idx, fresh)


def _again(graph: ir.Graph, twin: ir.Node, value: ir.Value, name: str | None) -> ir.Value:
    """What `twin` makes of `value`."""
    limits: list[ir.Value | None] = []
    for index, operand in enumerate(twin.inputs[1:]):
        tensor = constant(operand)
        label = f"{twin.name}_limit_{index}"
        limits.append(constant_input(graph, label, tensor.numpy()) if tensor is not None else None)
    node = ir.Node("", twin.op_type, [value, *limits], name=f"{twin.name}_absorbed")
    graph.append(node)
    out = node.outputs[0]
    out.name, out.shape, out.type = name, value.shape, value.type
    return out


def _is_cut(node: ir.Node, twin: ir.Node) -> bool:
    """Whether a reader of what is in front reads what is behind in the float graph."""
    if any(use.node.name == node.name for use in twin.outputs[0].uses()):
        return True
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if node.op_type != "QuantizeLinear" or zero is None:
        return False
    found = zero.numpy()
    return found.dtype.kind in "iu" and bool(np.all(found == np.iinfo(found.dtype).min))
