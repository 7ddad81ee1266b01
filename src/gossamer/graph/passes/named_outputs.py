"""Graph outputs that stay what they are called, whatever merged."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def named_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """`model` (edited in place) with outputs of these names, each of them a value of its own.

    Passes that merge equal values leave one value in several places among the outputs, under one
    of their names; the others get an Identity.

    Args:
        model: Its outputs are in the order of `names`.
        names: What they are to be called.
    """
    graph, seen = model.graph, set[ir.Value]()
    for i, (value, name) in enumerate(zip([*graph.outputs], names, strict=True)):
        if value in seen or (value.is_graph_input() and value.name != name):
            node = ir.node("Identity", [value], name=f"{name}_same")
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[i] = node.outputs[0]
        graph.outputs[i].name = name
        seen.add(value)
    return model
