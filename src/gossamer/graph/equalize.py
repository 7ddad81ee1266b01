"""Cross-layer equalisation: channels of weights get about the same range on both sides of a value.

Nagel et al. 2019, arXiv:1906.04721, section 4.1. Channel i of a value is made by weights of range
r1_i (a row of a Conv, the scale of a normalization …) and read by weights of range r2_i. Divided by

    s_i = sqrt(r1_i / r2_i)

and its readers' weights multiplied by the same, both ranges become sqrt(r1_i r2_i). A weight that
reads one value and makes another takes part twice, so it goes round until nothing changes. Of data
only this counts: a channel that calibration saw nothing of is not enlarged (ResNet-20 has dead ones
with weights near zero, s would be a hundredth, and the range of the value is all theirs). What
smoothing by observed values does (`smooth`) is the same with another s. Only values whose makers
take the factors in (`rescale`) are equalized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.graph.layout import by_output
from gossamer.graph.match import constant
from gossamer.graph.rescale import Part, makers
from gossamer.graph.smooth import LARGEST, SMALLEST
from gossamer.plan import Plan
from gossamer.statistics import ChannelStatistics

ROUNDS = 50  # at most
CLOSE = 1e-3  # by which factors still change in the last round


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """One value between weights.

    Attributes:
        name: Of the value.
        part: The constant that makes it.
        readers: The products that read it.
        is_seen: Of each channel, whether calibration saw anything but 0.
    """

    name: str
    part: Part
    readers: tuple[ir.Node, ...]
    is_seen: NDArray[np.bool_]


def equalizing_factors(
    graph: ir.Graph, plan: Plan, names: Sequence[str], known: Mapping[str, ChannelStatistics]
) -> dict[str, NDArray[np.float32]]:
    """1 / s of each of the values whose channels are known, `[channels]`.

    It is 1, or less if all others are, where a channel is not made, read or seen.

    Args:
        graph: Where the values are.
        plan: Placement of that graph.
        names: Of values whose makers can take the factors in.
        known: What calibration saw of channels.
    """
    quantized = frozenset(plan.values)
    seen = {name: is_seen for name in names if (is_seen := _seen(known.get(name))) is not None}
    values = {v.name: v for node in graph for v in node.outputs if v.name in seen}
    pairs = [
        _Pair(
            name=name,
            part=makers(values[name], quantized)[0],
            readers=tuple(use.node for use in values[name].uses()),
            is_seen=is_seen,
        )
        for name, is_seen in seen.items()
    ]
    arrays = {
        (node, index): _array(node, index)
        for pair in pairs
        for node, index in ((pair.part.node, pair.part.index), *((r, 1) for r in pair.readers))
    }
    found = {pair.name: np.ones(pair.is_seen.size) for pair in pairs}
    for _ in range(ROUNDS):
        change = 0.0
        for pair in pairs:
            factor = _factor(pair, arrays, found[pair.name])
            found[pair.name] *= factor
            change = max(change, float(np.abs(np.log(factor)).max()))
        if change < CLOSE:
            break
    for pair in pairs:
        found[pair.name][~pair.is_seen] = min(1.0, found[pair.name].min())
    return {name: factor.astype(np.float32) for name, factor in found.items()}


Arrays = dict[tuple[ir.Node, int], NDArray[np.float64]]


def _factor(pair: _Pair, arrays: Arrays, known: NDArray[np.float64]) -> NDArray[np.float64]:
    """What equalizes the two sides of a value as they are now; the arrays take it in."""
    made = _made(pair.part, arrays)
    read = np.max([_read(node, arrays) for node in pair.readers], axis=0)
    is_alive = (made > 0) & (read > 0) & pair.is_seen
    factor = np.ones_like(known)
    factor[is_alive] = np.sqrt(read[is_alive] / made[is_alive])
    factor = np.clip(known * factor, SMALLEST, LARGEST) / known
    part = pair.part
    array = np.moveaxis(arrays[part.node, part.index], part.axis, -1)
    array[..., part.first : part.first + len(factor)] *= factor
    for node in pair.readers:
        each = by_output(node, arrays[node, 1])
        each /= factor.reshape(len(each), 1, -1, 1)
    return factor


def _made(part: Part, arrays: Arrays) -> NDArray[np.float64]:
    """The range of what makes each channel."""
    array = np.abs(np.moveaxis(arrays[part.node, part.index], part.axis, 0))
    found: NDArray[np.float64] = array.reshape(len(array), -1).max(axis=1)
    return found


def _read(node: ir.Node, arrays: Arrays) -> NDArray[np.float64]:
    """The range of what reads each channel."""
    found: NDArray[np.float64] = np.abs(by_output(node, arrays[node, 1])).max(axis=(1, 3)).ravel()
    return found


def _seen(known: ChannelStatistics | None) -> NDArray[np.bool_] | None:
    if known is None or known.low is None or known.high is None:
        return None
    return np.asarray((known.low != 0) | (known.high != 0))


def _array(node: ir.Node, index: int) -> NDArray[np.float64]:
    tensor = constant(node.inputs[index])
    assert tensor is not None  # `makers` and the plan looked
    return tensor.numpy().astype(np.float64)
