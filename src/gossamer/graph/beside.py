"""A float graph and its quantized twin in one graph that gives out nothing but sums.

Values of the two are the same place where they have the same name. Of each site come out three sums
of squares: of the float value at its output, of the error there when every site is quantized, and
of the error when this site alone is, which reads what the float graph computes. So one run tells of
every site, and no activation leaves the runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from gossamer.errors import PlanError
from gossamer.graph.match import constant, keeps_values
from gossamer.graph.sites import DEQUANTIZE, MOVING, QUANTIZE, Site

PREFIX = "quantized."


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Names of the outputs with the sums of one site.

    Attributes:
        signal: Of the float value.
        accumulated: Of the error with all sites quantized.
        alone: Of the error with this site alone; None where the float graph lacks its operands.
    """

    signal: str
    accumulated: str
    alone: str | None


def beside(
    reference: ir.Model, quantized: ir.Model, sites: Sequence[Site], changed: Collection[str] = ()
) -> tuple[ir.Model, dict[str, Sums]]:
    """Both graphs in one (both models are used up), and the sums of each site that has a twin.

    Args:
        reference: The float graph.
        quantized: The other one, of the same opset, with the same inputs.
        sites: Of `quantized`.
        changed: Names of values that are not the same numbers in both, by intent (rescaled ones).

    Raises:
        PlanError: The graphs have other inputs or opsets.
    """
    graph, other = reference.graph, quantized.graph
    _check(reference, quantized)
    known = {v.name: v for v in (*graph.inputs, *(o for n in graph for o in n.outputs))}
    made = {n.name: n.outputs[0] for n in other}
    twins = {
        value: known[value.name]
        for value in (*other.inputs, *(o for n in other for o in n.outputs))
        if value.name in known and value.name not in changed
    }
    places = {
        site.name: (made[site.name], known[site.output])
        for site in sites
        if site.output in known and site.output not in changed
    }
    graph.outputs.clear()
    _move(other, graph, twins)
    reference.opset_imports.update(
        {k: v for k, v in quantized.opset_imports.items() if k not in reference.opset_imports}
    )
    writer = _Writer(graph, twins, set(changed))
    found = {name: writer.sums(name, *place) for name, place in places.items()}
    graph.sort()
    return reference, found


def _check(reference: ir.Model, quantized: ir.Model) -> None:
    ours = [v.name for v in reference.graph.inputs], reference.opset_imports.get("")
    theirs = [v.name for v in quantized.graph.inputs], quantized.opset_imports.get("")
    if (set(ours[0]), ours[1]) != (set(theirs[0]), theirs[1]):
        raise PlanError(
            f"a quantized graph with the inputs {', '.join(map(str, ours[0]))} in opset {ours[1]}",
            f"{', '.join(map(str, theirs[0]))} in opset {theirs[1]}",
        )


def _move(source: ir.Graph, target: ir.Graph, twins: dict[ir.Value, ir.Value]) -> None:
    """Every node and constant of `source` goes to `target`, under names of its own."""
    source.outputs.clear()
    nodes = list(source)
    for value in list(source.inputs):
        value.replace_all_uses_with(twins[value])
    constants = list(source.initializers.values())
    for node in nodes:
        node.name = f"{PREFIX}{node.name}"
        for value in node.outputs:
            value.name = f"{PREFIX}{value.name}"
    source.remove(nodes)
    for value in constants:
        source.initializers.pop(value.name or "")
        value.name = f"{PREFIX}{value.name}"
        target.register_initializer(value)
    target.extend(nodes)


class _Writer:
    """Appends what sums need to the common graph."""

    def __init__(self, graph: ir.Graph, twins: dict[ir.Value, ir.Value], changed: set[str]) -> None:
        self._graph = graph
        self._twins = twins
        self._changed = {f"{PREFIX}{name}" for name in changed}
        self._copies: dict[ir.Value, ir.Value | None] = {}

    def sums(self, site: str, value: ir.Value, twin: ir.Value) -> Sums:
        """The outputs of one site, which makes `value` where the float graph has `twin`."""
        alone = self._alone(value)
        return Sums(
            signal=self._sum(f"{site}.signal", twin),
            accumulated=self._sum(f"{site}.accumulated", self._node("Sub", value, twin)),
            alone=self._sum(f"{site}.alone", self._node("Sub", alone, twin)) if alone else None,
        )

    def _alone(self, value: ir.Value) -> ir.Value | None:
        """What the node makes of operands that the float graph computes, stored as they are."""
        node = value.producer()
        if node is None or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
            return None
        operands = [self._copy(v) if v is not None else None for v in node.inputs]
        if any(
            v is not None and copy is None for v, copy in zip(node.inputs, operands, strict=True)
        ):
            return None
        return self._again(node, operands).outputs[value.index() or 0]

    def _copy(self, value: ir.Value) -> ir.Value | None:
        """The float graph's value with all that stands between it and `value` written again."""
        if value not in self._copies:
            self._copies[value] = self._copied(value)
        return self._copies[value]

    def _copied(self, value: ir.Value) -> ir.Value | None:
        node = value.producer()
        if value.name in self._changed:
            return None
        if constant(value) is not None:
            return value
        is_between = node is not None and (
            node.op_type in (QUANTIZE, DEQUANTIZE)
            or (node.op_type in MOVING and keeps_values(node))
        )
        if not is_between and value in self._twins:
            return self._twins[value]
        if node is None or not (is_between or node.op_type == "Mul"):  # smoothing is a Mul
            return value if node is None else None
        operands = [self._copy(v) if v is not None else None for v in node.inputs]
        if any(
            v is not None and copy is None for v, copy in zip(node.inputs, operands, strict=True)
        ):
            return None
        return self._again(node, operands).outputs[value.index() or 0]

    def _again(self, node: ir.Node, operands: Sequence[ir.Value | None]) -> ir.Node:
        fresh = ir.Node(
            node.domain,
            node.op_type,
            operands,
            attributes=list(node.attributes.values()),
            num_outputs=len(node.outputs),
        )
        self._graph.append(fresh)
        return fresh

    def _node(self, op: str, *operands: ir.Value) -> ir.Value:
        node = ir.node(op, operands, attributes={"keepdims": 0} if op.startswith("Reduce") else {})
        self._graph.append(node)
        return node.outputs[0]

    def _sum(self, name: str, value: ir.Value) -> str:
        out = self._node("ReduceSumSquare", value)
        out.name, out.type = name, ir.TensorType(ir.DataType.FLOAT)
        out.shape = ir.Shape(())
        self._graph.outputs.append(out)
        return name
