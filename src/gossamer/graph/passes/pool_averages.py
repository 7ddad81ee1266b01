"""Averages of whole images as the operator that is made for them."""

from __future__ import annotations

import onnx_ir as ir

from gossamer.graph.match import constant


def pool_averages(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with each ReduceMean over height and width as GlobalAveragePool.

    A Flatten stands behind it if the axes go. ONNX Runtime has an int8 kernel for the pool alone.
    """
    for node in list(model.graph):
        if node.op_type == "ReduceMean" and _averages_image(node):
            _replace(node, model.graph)
    return model


def _averages_image(node: ir.Node) -> bool:
    source = node.inputs[0]
    if source is None or source.shape is None or len(source.shape) != 4:
        return False
    axes = node.attributes.get_ints("axes", None)
    if axes is None and len(node.inputs) > 1:
        tensor = constant(node.inputs[1])
        axes = None if tensor is None else tensor.numpy().ravel().tolist()
    return axes is not None and sorted(int(a) % 4 for a in axes) == [2, 3]


def _replace(node: ir.Node, graph: ir.Graph) -> None:
    out = node.outputs[0]
    pool = ir.node("GlobalAveragePool", [node.inputs[0]], name=node.name)
    made = [pool]
    if not node.attributes.get_int("keepdims", 1):
        made.append(ir.node("Flatten", pool.outputs, name=f"{node.name}_flatten"))
        pool.outputs[0].name, pool.outputs[0].type = f"{out.name}_pooled", out.type
    last = made[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(graph, node, [node], made, [out], [last])
