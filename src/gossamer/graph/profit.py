"""Which sites run in int8 so that kernels and the conversions between them take least time.

Every site has two prices, and every value that one neighbour stores and another reads otherwise
has that of its conversion. The cheapest labels are those of a minimum cut (`gossamer.graph.cut`),
exactly: no other labels add up to less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from gossamer.graph.cut import NEVER, Node, source_side
from gossamer.graph.pieces import Shapes, pieces

if TYPE_CHECKING:
    import onnx_ir as ir

    from gossamer.costs import Costs
    from gossamer.plan import Plan

INT8, FLOAT = "int8", "float32"  # the two ends of the network
NANO = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """A value that some sites read in int8, and what its conversions take.

    Attributes:
        maker: The site that makes it in int8 where that runs in int8; None if nothing does.
        readers: Sites that read it in int8 where they run in int8.
        is_read: Whether something reads it that is no site.
        quantize: Nanoseconds to store it.
        dequantize: Nanoseconds to read it back.
    """

    maker: str | None
    readers: tuple[str, ...]
    is_read: bool = False
    quantize: int = 0
    dequantize: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """What all labels of a graph's sites cost, in nanoseconds.

    Attributes:
        kernels: In float32 and in int8, by site; sites that only move numbers cost nothing.
        crossings: Values at which labels can differ.
        fixed: Sites whose label is not asked for, with it: whether they run in int8.
        moving: Sites that can only pass on what the second one makes in int8.
    """

    kernels: Mapping[str, tuple[int, int]]
    crossings: tuple[Crossing, ...]
    fixed: Mapping[str, bool]
    moving: Mapping[str, str]

    def total(self, in_int8: Set[str]) -> int:
        """What everything takes together when these sites run in int8."""
        kernels = sum(pair[name in in_int8] for name, pair in self.kernels.items())
        return kernels + sum(_crossed(c, in_int8) for c in self.crossings)


def cheapest(prices: Prices) -> frozenset[str]:
    """The sites in int8 at the least total; float32 where both labels cost the same."""
    edges: dict[tuple[Node, Node], int] = {}

    def price(tail: Node, head: Node, nanoseconds: int) -> None:
        edges[tail, head] = edges.get((tail, head), 0) + nanoseconds

    for name, (float32, int8) in prices.kernels.items():
        price(INT8, name, float32)
        price(name, FLOAT, int8)
    for name, is_int8 in prices.fixed.items():
        price(*((INT8, name) if is_int8 else (name, FLOAT)), NEVER)
    for name, maker in prices.moving.items():
        price(name, maker, NEVER)
    for i, crossing in enumerate(prices.crossings):
        stored, read = ("stored", i), ("read", i)
        for reader in crossing.readers:
            price(reader, stored, NEVER)  # one that reads int8 needs it stored
            price(read, reader, NEVER)  # one that reads float needs it read back
        price(stored, crossing.maker or FLOAT, crossing.quantize)
        if crossing.maker is not None:
            price(crossing.maker, FLOAT if crossing.is_read else read, crossing.dequantize)
    names = {*prices.kernels, *prices.fixed, *prices.moving}
    return frozenset(str(n) for n in source_side(edges, INT8, FLOAT) if n in names)


def prices(graph: ir.Graph, able: Plan, wise: Plan, shapes: Shapes, costs: Costs) -> Prices:
    """The prices of every site that can run in int8.

    Args:
        graph: The float graph.
        able: Everything that has an int8 kernel runs in it.
        wise: What the target's own rules say; it decides about sites that were not measured.
        shapes: Of values, as far as known.
        costs: What was measured.
    """
    kernels, moving, fixed = {}, {}, {}
    makers = {v: d.site for d in able.quantized for v in d.outputs}
    for piece in pieces(graph, able, shapes):
        found = costs.kernel(piece.signature)
        if found is not None:
            kernels[piece.decision.site] = (round(found[0] * NANO), round(found[1] * NANO))
    as_ruled = {d.site for d in wise.quantized}
    for decision in able.quantized:
        if decision.site in kernels:
            continue
        source = makers.get(decision.inputs[0]) if decision.inputs else None
        if (*decision.inputs, *decision.outputs) in able.shared and source is not None:
            moving[decision.site] = source
        else:
            fixed[decision.site] = decision.site in as_ruled
    return Prices(
        kernels=kernels,
        crossings=tuple(_crossings(graph, able, makers, shapes, costs)),
        fixed=fixed,
        moving=moving,
    )


def lost(prices: Prices, in_int8: Set[str], site: str) -> tuple[float, float]:
    """Milliseconds of a site in float32, and in int8 with its conversions, the others as they are.

    What conversions the site saves in int8 is taken off there.
    """
    float32, _ = prices.kernels[site]
    more = prices.total(in_int8 | {site}) - prices.total(in_int8 - {site})
    return float32 / 1e6, (float32 + more) / 1e6


def _crossed(crossing: Crossing, in_int8: Set[str]) -> int:
    is_stored = crossing.maker in in_int8
    readers = [name in in_int8 for name in crossing.readers]
    found = crossing.quantize if any(readers) and not is_stored else 0
    is_read_back = crossing.is_read or not all(readers)
    return found + (crossing.dequantize if is_stored and is_read_back else 0)


def _crossings(
    graph: ir.Graph, able: Plan, makers: Mapping[str, str], shapes: Shapes, costs: Costs
) -> Iterable[Crossing]:
    nodes = {node.name or "": node for node in graph}
    values = {v.name: v for v in (*graph.inputs, *(o for n in graph for o in n.outputs))}
    for name in able.values:
        if name not in shapes or name not in values:
            continue
        readers = tuple(d.site for d in able.quantized if name in d.inputs)
        members = {
            nodes[member]
            for d in able.quantized
            if name in d.inputs
            for member in (d.site, *d.fused, *d.through)
        }
        value, elements = values[name], prod(shapes[name])
        others = any(use.node not in members for use in value.uses())
        yield Crossing(
            maker=makers.get(name),
            readers=readers,
            is_read=others or value.is_graph_output(),
            quantize=round(costs.quantizing(elements) * NANO),
            dequantize=round(costs.dequantizing(elements) * NANO),
        )
