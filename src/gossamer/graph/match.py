"""Walking a graph: constants, tails behind a node, and the values that views share."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

VIEWS = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tail:
    """Nodes that a kernel absorbs behind its own node.

    Attributes:
        nodes: In data order; empty when nothing is absorbed.
        residuals: Activation values that enter the tail from elsewhere.
        output: The value behind the last node.
    """

    nodes: tuple[ir.Node, ...]
    residuals: tuple[ir.Value, ...]
    output: ir.Value


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer, None for anything computed or fed."""
    if value is None or value.is_graph_input():
        return None
    return value.const_value if value.is_initializer() else None


def activations(node: ir.Node) -> tuple[ir.Value, ...]:
    """The inputs of a node that are not constants, each once."""
    seen = {v: None for v in node.inputs if v is not None and constant(v) is None}
    return tuple(seen)


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads `value`; None when there are more, none, or it is a graph output.

    A reader inside the branch of an If or the body of a Loop does not count as one.
    """
    if value.is_graph_output() or len(value.uses()) != 1:
        return None
    node = next(iter(value.uses())).node
    producer = value.producer()
    return node if producer is None or producer.graph is node.graph else None


def origin(value: ir.Value, transparent: tuple[str, ...]) -> tuple[ir.Value, tuple[ir.Node, ...]]:
    """The value in front of the `transparent` nodes that made `value`, and those nodes."""
    nodes: list[ir.Node] = []
    node = value.producer()
    while node is not None and node.op_type in transparent and keeps_values(node):
        source = node.inputs[0]
        if source is None or constant(source) is not None:
            break
        nodes.append(node)
        value, node = source, source.producer()
    return value, tuple(nodes)


def keeps_values(node: ir.Node) -> bool:
    """Whether a node only moves numbers and adds zeros: int8 in, the same int8 out."""
    if node.op_type == "Pad":
        mode = node.attributes.get_string("mode", "constant")
        filler = node.inputs[2] if len(node.inputs) > 2 else None
        tensor = constant(filler)
        return mode == "constant" and (
            filler is None or (tensor is not None and not tensor.numpy().any())
        )
    if node.op_type == "Resize":
        return node.attributes.get_string("mode", "nearest") == "nearest"
    return True


def tail(node: ir.Node, patterns: tuple[str, ...], order: dict[ir.Node, int]) -> Tail:
    """The longest tail of `patterns` that stands behind `node`.

    A pattern is operator types in data order. `Op?` may be absent. `Op[residual]` has one other
    activation operand, which must be ready before this node runs (`order` numbers the nodes), so
    that of two branches meeting in one Add only the later absorbs it. `Op[constant]` has only
    constants beside the data.
    """
    best = Tail(nodes=(), residuals=(), output=node.outputs[0])
    for pattern in patterns:
        found = _follow(node, pattern.split(), order)
        if found is not None and len(found.nodes) > len(best.nodes):
            best = found
    return best


def _follow(node: ir.Node, tokens: list[str], order: dict[ir.Node, int]) -> Tail | None:
    value = node.outputs[0]
    nodes: list[ir.Node] = []
    residuals: list[ir.Value] = []
    for token in tokens:
        name = token.rstrip("?").split("[")[0]
        following = sole_consumer(value)
        others = _others(following, value) if following is not None else ()
        fits = following is not None and following.op_type == name and len(following.outputs) == 1
        if fits and "[residual]" in token:
            fits = len(others) == 1 and _ready_before(others[0], node, order)
        elif fits:
            fits = not others
        if not fits or following is None:
            if token.endswith("?"):
                continue
            return None
        residuals += others
        nodes.append(following)
        value = following.outputs[0]
    return Tail(nodes=tuple(nodes), residuals=tuple(residuals), output=value)


def _others(node: ir.Node, value: ir.Value) -> tuple[ir.Value, ...]:
    return tuple(v for v in activations(node) if v is not value)


def _ready_before(value: ir.Value, node: ir.Node, order: dict[ir.Node, int]) -> bool:
    producer = value.producer()
    return producer is None or order.get(producer, 0) < order[node]
