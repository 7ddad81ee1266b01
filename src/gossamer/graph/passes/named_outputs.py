"""Graph outputs that stay what they are called, whatever merged."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def named_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """`model` (edited in place) with outputs of these names, each of them a value of its own.

    Passes that merge equal values leave one value in several places among the outputs, under one
    of their names; the others get an Identity. An output called like an input is that input.

    Args:
        model: Its outputs are in the order of `names`.
        names: What they are to be called.
    """
    graph, seen = model.graph, set[ir.Value]()
    fed = {value.name: value for value in graph.inputs}
    for i, (value, name) in enumerate(zip([*graph.outputs], names, strict=True)):
        if name in fed:
            graph.outputs[i] = fed[name]
            continue
        if value in seen or (value.is_graph_input() and value.name != name):
            graph.outputs[i] = _same(graph, value, f"{name}_same")
        graph.outputs[i].name = name
        seen.add(value)
    for body in graph.subgraphs():
        _keep_apart(body)
    return model


def _keep_apart(body: ir.Graph) -> None:
    """Give a graph inside a node outputs that it makes itself, each once, in place.

    Of one value in two places ONNX Runtime 1.31 returns nonsense in one of them; it refuses one
    from outside.
    """
    seen = set[ir.Value]()
    made = {*body.inputs, *body.initializers.values(), *(v for n in body for v in n.outputs)}
    for i, value in enumerate([*body.outputs]):
        if value in seen or value not in made:
            body.outputs[i] = _same(body, value, f"{value.name}_same_{i}")
            body.outputs[i].name = f"{value.name}_output_{i}"
        seen.add(value)


def _same(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    node = ir.node("Identity", [value], name=name)
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    graph.append(node)
    return node.outputs[0]
