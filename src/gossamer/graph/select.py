"""Nodes that a user names: by name, operator, pattern, or by what they do together.

What they do together is found in one node and written out: exporters give GELU as one operator, or
as five.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import onnx_ir as ir

from gossamer.errors import RecipeError
from gossamer.graph.match import activations, constant
from gossamer.graph.refuse import Refusal
from gossamer.plan import Reason
from gossamer.plugins import near

PATTERN = "re:"
SIZES = {"Shape", "Size"}
ATTENTION = ("Attention", "MultiHeadAttention", "GroupQueryAttention")
WEIGHTED = {"Conv", "ConvTranspose", "MatMul", "Gemm", *ATTENTION}


def select(graph: ir.Graph, selectors: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names of the nodes that each selector matches, in data order.

    A selector is the name of a node, or an operator type (`Conv`), or `re:` and a regular
    expression that is searched in names, or one of `MEANINGS`: `layernorm`, `gelu`, `softmax`,
    `residual` (additions in which a path and one that leads around it meet), `gather`.

    Args:
        graph: Its nodes have names of their own.
        selectors: What to look for.

    Raises:
        RecipeError: A selector matches nothing, or is no regular expression.
    """
    found = matched(graph, selectors)
    for selector, names in found.items():
        if not names:
            raise unmatched(selector, [graph])
    return found


def matched(graph: ir.Graph, selectors: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The same; a selector may match nothing.

    Raises:
        RecipeError: A selector is no regular expression.
    """
    return {
        selector: tuple(node.name or "" for node in graph if node in found)
        for selector, found in _nodes(graph, selectors)
    }


def kept_float(
    graph: ir.Graph, exclude: Sequence[str], reverted: Sequence[str]
) -> dict[str, Refusal]:
    """Why nodes stay in float, by name.

    Args:
        graph: Their graph.
        exclude: What the user selected.
        reverted: Names of sites that would cost too much accuracy.

    Raises:
        RecipeError: A selector matches nothing.
    """
    found: dict[str, Refusal] = dict.fromkeys(
        reverted, (Reason.REVERTED_ACCURACY, "taken out by the recipe")
    )
    for selector, names in select(graph, exclude).items():
        found |= dict.fromkeys(names, (Reason.EXCLUDED, f"the recipe excludes {selector}"))
    return found


def unmatched(selector: str, graphs: Iterable[ir.Graph]) -> RecipeError:
    """The error for a selector that matches nothing in any of the graphs."""
    nodes = [node for graph in graphs for node in graph]
    known = [*MEANINGS, *sorted({n.op_type for n in nodes}), *(n.name or "" for n in nodes)]
    hint = near(selector.removeprefix(PATTERN), dict.fromkeys(known))
    ops = ", ".join(sorted({n.op_type for n in nodes}))
    return RecipeError(
        f"a node name, an operator, {PATTERN}PATTERN, or one of {', '.join(MEANINGS)}",
        f"{selector!r}, which matches no node",
        f"{hint}The operators are {ops}.",
    )


def _nodes(graph: ir.Graph, selectors: Sequence[str]) -> Iterator[tuple[str, set[ir.Node]]]:
    names = {node.name: node for node in graph}
    for selector in selectors:
        if selector.startswith(PATTERN):
            pattern = _compiled(selector)
            yield selector, {node for node in graph if pattern.search(node.name or "")}
        elif selector in names:
            yield selector, {names[selector]}
        elif selector.lower() in MEANINGS:
            yield selector, set(MEANINGS[selector.lower()](graph))
        else:
            yield selector, {node for node in graph if node.op_type == selector}


def _compiled(selector: str) -> re.Pattern[str]:
    try:
        return re.compile(selector.removeprefix(PATTERN))
    except re.error as error:
        raise RecipeError(
            f"a regular expression behind {PATTERN!r}", repr(selector), f"Python says: {error}."
        ) from error


def _layernorm(graph: ir.Graph) -> Iterator[ir.Node]:
    """Fused, or (x - mean) / sqrt(mean((x - mean)^2) + e) with what scales and shifts it.

    The same without a mean is RMSNorm.
    """
    yield from _of(
        graph,
        *("LayerNormalization", "SkipLayerNormalization", "EmbedLayerNormalization"),
        *("RMSNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"),
    )
    for root in _of(graph, "Sqrt"):
        behind = [*_behind(root)]
        inside = [*_chain(root, ("Add", "ReduceMean"))]
        powers = [*_before(inside[-1], ("Pow", "Mul"))] if len(inside) == 2 else []
        centred = [n for power in powers for n in _before(power, ("Sub",))]
        if not powers or len(behind) != 1 or behind[0].op_type not in {"Div", "Reciprocal"}:
            continue
        means = [n for centre in centred for n in _before(centre, ("ReduceMean",))]
        yield from (root, *inside, *powers, *centred, *means, behind[0])
        yield from _follow(behind[0], ("Mul",) * (behind[0].op_type != "Div") + ("Mul", "Add"))


def _gelu(graph: ir.Graph) -> Iterator[ir.Node]:
    """Fused, or x/2 (1 + erf(x / sqrt 2)), or the same with tanh of x + 0.044715 x^3."""
    yield from _of(graph, "Gelu", "FastGelu", "BiasGelu", "QuickGelu", "BiasSplitGelu")
    for root in _of(graph, "Erf", "Tanh"):
        inside = set(_inside(root))
        behind = [*_follow(root, ("Add", "Mul", "Mul"))]
        if len(behind) < 2 or not inside:
            continue
        halves = [n for node in behind for n in _before(node, ("Mul",)) if _has_constant(n)]
        yield from (root, *inside, *behind, *halves)


def _inside(root: ir.Node) -> Iterator[ir.Node]:
    """What makes the argument of erf or tanh out of a value that is read more than once."""
    waiting = [*activations(root)]
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if (
            len(value.uses()) > 1
            or node is None
            or node.op_type not in {"Mul", "Div", "Add", "Pow"}
        ):
            continue
        yield node
        waiting += activations(node)


def _softmax(graph: ir.Graph) -> Iterator[ir.Node]:
    """One operator, inside a fused attention, or exp(x) / sum(exp(x))."""
    yield from _of(graph, "Softmax", "LogSoftmax", *ATTENTION)
    for root in _of(graph, "Exp"):
        sums = [n for n in _behind(root) if n.op_type == "ReduceSum"]
        ratios = [n for n in _behind(root) if n.op_type == "Div"]
        if any(n.outputs[0] in ratio.inputs for n in sums for ratio in ratios):
            largest = [n for less in _before(root, ("Sub",)) for n in _before(less, ("ReduceMax",))]
            yield from (root, *sums, *ratios, *_before(root, ("Sub",)), *largest)


def _gather(graph: ir.Graph) -> Iterator[ir.Node]:
    yield from _of(graph, "Gather", "GatherND", "GatherElements", "EmbedLayerNormalization")


def _residual(graph: ir.Graph) -> Iterator[ir.Node]:
    """Sums of values that come from one value, over other weights each."""
    origins: dict[ir.Value, int] = {}  # a bit for each input and node that a float comes from
    weighted = 0
    for i, value in enumerate(graph.inputs):
        origins[value] = 0 if _is_whole(value) else 1 << i
    for i, node in enumerate(graph, len(graph.inputs)):
        before = [origins.get(v, 0) for v in activations(node)]
        if node.op_type in {"Add", "Sum"} and len(before) == 2:
            a, b = before
            is_masking = any(reader.op_type == "Softmax" for reader in _behind(node))
            if a & b and (a ^ b) & weighted and not is_masking:
                yield node
        weighted |= (node.op_type in WEIGHTED) << i
        is_float = node.op_type not in SIZES and not all(_is_whole(v) for v in node.outputs)
        come_from = functools.reduce(operator.or_, before, 1 << i) if is_float else 0
        origins |= dict.fromkeys(node.outputs, come_from)
    yield from _of(graph, "SkipLayerNormalization", "SkipSimplifiedLayerNormalization")


def _is_whole(value: ir.Value) -> bool:
    """Whether it holds integers or truth values, such as shapes and indices."""
    return value.dtype is not None and not value.dtype.is_floating_point()


def _of(graph: ir.Graph, *ops: str) -> Iterator[ir.Node]:
    return (node for node in graph if node.op_type in ops)


def _behind(node: ir.Node) -> Iterator[ir.Node]:
    return (use.node for value in node.outputs for use in value.uses())


def _before(node: ir.Node, ops: Sequence[str]) -> Iterator[ir.Node]:
    for value in activations(node):
        producer = value.producer()
        if producer is not None and producer.op_type in ops:
            yield producer


def _chain(node: ir.Node, ops: Sequence[str]) -> Iterator[ir.Node]:
    """What stands before `node`: the first of `ops`, before that the second, and so on."""
    for op in ops:
        found = next(_before(node, (op,)), None)
        if found is None:
            return
        yield found
        node = found


def _follow(node: ir.Node, ops: Sequence[str]) -> Iterator[ir.Node]:
    """What stands behind `node`: the first of `ops`, behind that the second, and so on."""
    for op in ops:
        readers = [*_behind(node)]
        if len(readers) != 1 or readers[0].op_type != op:
            return
        node = readers[0]
        yield node


def _has_constant(node: ir.Node) -> bool:
    return any(v is not None and constant(v) is not None for v in node.inputs)


MEANINGS: dict[str, Callable[[ir.Graph], Iterator[ir.Node]]] = {
    "layernorm": _layernorm,
    "gelu": _gelu,
    "softmax": _softmax,
    "residual": _residual,
    "gather": _gather,
}
