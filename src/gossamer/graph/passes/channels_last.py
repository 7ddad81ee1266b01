"""Blocks that work channels-last between convolutions, in the form that OpenVINO runs fastest."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from gossamer.graph.weights import constant_input

LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # NCHW to NHWC, and back


def channels_last(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with fewer Transposes and with LayerNormalization of rank 3.

    1. The sum of two branches is made channels-last where one of them is: its Transpose goes
       behind the Add, and pairs of Transposes that undo each other go.
    2. LayerNormalization over the last axis of an image sees its pixels as one axis.

    A value that was transposed or reshaped has the same elements, so the name stays with what
    makes it, and its range holds. OpenVINO 2026.4.1 has no LayerNormalization kernel for the last
    of four axes (it runs seven nodes), and copies at every Transpose that it cannot merge into a
    change of layout: ConvNeXt took 0.9 of the time (Zen 4, 2026-11-22).
    """
    for node in list(model.graph):
        if node.op_type == "Add":
            _sink(node)
        elif node.op_type == "LayerNormalization":
            _flatten(node)
    for node in list(model.graph):
        _cancel(node)
    passes.CommonSubexpressionEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    model.graph.sort()
    return model


def _sink(add: ir.Node) -> None:
    """Add(a, FIRST(b)) becomes FIRST(Add(LAST(a), b))."""
    out, graph = add.outputs[0], add.graph
    operands = [v for v in add.inputs if v is not None]
    shape = operands[0].shape
    if graph is None or out.is_graph_output() or shape is None or len(shape) != 4:
        return
    if operands[1].shape != shape or not any(_transposes(v, FIRST) for v in operands):
        return
    for i, operand in enumerate(operands):
        add.replace_input_with(i, _turned(operand, add))
    uses = tuple(out.uses())
    out.shape = _permuted(shape, LAST)
    back = _transpose(out, FIRST, f"{out.name}_first")
    graph.insert_after(add, back)
    for use in uses:
        use.node.replace_input_with(use.idx, back.outputs[0])


def _turned(value: ir.Value, add: ir.Node) -> ir.Value:
    """`value` channels-last, as an operand of `add`."""
    fresh = _transpose(value, LAST, f"{value.name}_{add.name}_last")
    if add.graph is not None:
        add.graph.insert_before(add, fresh)
    return fresh.outputs[0]


def _transpose(value: ir.Value, perm: tuple[int, ...], name: str) -> ir.Node:
    node = ir.node("Transpose", [value], attributes={"perm": perm}, name=name)
    node.outputs[0].name, node.outputs[0].type = name, value.type
    node.outputs[0].shape = _permuted(value.shape, perm)
    return node


def _permuted(shape: ir.Shape | None, perm: tuple[int, ...]) -> ir.Shape | None:
    return None if shape is None else ir.Shape([shape[axis] for axis in perm])


def _transposes(value: ir.Value | None, perm: tuple[int, ...]) -> bool:
    node = value.producer() if value is not None else None
    return (
        node is not None
        and node.op_type == "Transpose"
        and tuple(node.attributes.get_ints("perm", ())) == perm
    )


def _cancel(node: ir.Node) -> None:
    """What reads LAST(FIRST(x)) or FIRST(LAST(x)) reads x."""
    for outer, inner in ((LAST, FIRST), (FIRST, LAST)):
        out, middle = node.outputs[0], node.inputs[0] if node.inputs else None
        maker = middle.producer() if middle is not None else None
        if not _transposes(out, outer) or not _transposes(middle, inner) or maker is None:
            continue
        source = maker.inputs[0]
        if source is not None and not out.is_graph_output():
            out.replace_all_uses_with(source)
            return


def _flatten(norm: ir.Node) -> None:
    """LayerNormalization over [N, H, W, C] becomes one over [N, H W, C]."""
    source, out, graph = norm.inputs[0], norm.outputs[0], norm.graph
    shape = source.shape if source is not None else None
    if source is None or shape is None or len(shape) != 4 or not isinstance(graph, ir.Graph):
        return
    axis = norm.attributes.get_int("axis", -1)
    inner = [d for d in shape[1:] if isinstance(d, int)]
    if axis not in {-1, 3} or out.is_graph_output() or len(norm.outputs) > 1 or len(inner) < 3:
        return
    uses = tuple(out.uses())
    rows = _reshape(source, (0, -1, inner[-1]), f"{out.name}_pixels", graph)
    graph.insert_before(norm, rows)
    norm.replace_input_with(0, rows.outputs[0])
    image = _reshape(out, (0, *inner), f"{out.name}_image", graph)
    graph.insert_after(norm, image)
    image.outputs[0].shape = shape
    out.shape = None
    for use in uses:
        use.node.replace_input_with(use.idx, image.outputs[0])


def _reshape(value: ir.Value, shape: tuple[int, ...], name: str, graph: ir.Graph) -> ir.Node:
    sizes = constant_input(graph, f"{name}_shape", np.array(shape, np.int64))
    node = ir.node("Reshape", [value, sizes], name=name)
    node.outputs[0].name, node.outputs[0].type = name, value.type
    return node
