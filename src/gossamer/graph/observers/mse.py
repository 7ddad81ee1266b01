"""Range rule: the least squared error of quantizing and clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gossamer.errors import RecipeError
from gossamer.graph.observers._mass import plateau, within
from gossamer.step import RangeRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.statistics import TensorStatistics

MAX_BINS = 2048  # more of them are merged
BLOCK = 10  # ranges tried at once: what they need stays in the cache
SLACK = 0.1  # errors this close to the least are equally good


@dataclass(frozen=True, kw_only=True, slots=True)
class Mse(RangeRule):
    """Sum over bins of (x - Q(x))^2 for 255 steps of a range; x is the centre of a bin.

    The extremes are shrunk together first, then the upper end alone, then the lower end. Sung et
    al. 2015, arXiv:1511.06488, choose steps so. The first that compress tries: it clips where that
    costs less than what everybody else gains. Not where rare large values decide.

    Attributes:
        candidates: Ranges tried in each search, evenly spaced.
    """

    candidates: int = 100

    def __post_init__(self) -> None:
        if not 2 <= self.candidates <= 1000:
            raise RecipeError("2 to 1000 candidates", repr(self.candidates), "100 is usual.")

    def range(self, statistics: TensorStatistics, *, symmetric: bool) -> tuple[float, float]:
        """(low, high) with low <= 0 <= high, never wider than the observed extremes and 0."""
        low, high = within(statistics, statistics.low, statistics.high)
        reach = max(-low, high)
        bins = _bins(statistics, reach)
        if reach == 0.0 or not bins.weight.any():
            return low, high
        shrunk = np.arange(1, self.candidates + 1) / self.candidates

        def best(lows: NDArray[np.float64], highs: NDArray[np.float64]) -> float:
            return plateau(shrunk, errors(bins, lows / reach, highs / reach), SLACK)

        if symmetric:
            clipped = reach * best(-reach * shrunk, reach * shrunk)
            return within(statistics, -clipped, clipped)
        both = best(low * shrunk, high * shrunk)
        if low == 0.0 or high == 0.0:
            return within(statistics, low * both, high * both)
        fixed = np.ones(self.candidates)
        top = high * best(low * both * fixed, high * shrunk)
        return within(statistics, low * best(low * shrunk, top * fixed), top)


class Bins(NamedTuple):
    """What is quantized, in parts of the farther extreme: squares of float32 may overflow.

    Attributes:
        x: Centres of bins that hold anything, in ascending order.
        weight: Share of each.
        moments: Sums of weight * x**k over all before each bin, and over all, `[3, bins + 1]`.
    """

    x: NDArray[np.float32]
    weight: NDArray[np.float32]
    moments: NDArray[np.float64]


def errors(
    bins: Bins, lows: NDArray[np.float64], highs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean squared error of each range; inf where what it clips alone is beyond the plateau."""
    x, weight, _ = bins
    scale = np.maximum((highs - lows).astype(np.float32) / 255, np.float32(1e-30))[:, None]
    least = np.rint(lows.astype(np.float32)[:, None] / scale)  # minus the zero point
    clipped = _clipped(bins, (least * scale)[:, 0], ((least + 255) * scale)[:, 0])
    order = np.argsort(clipped, kind="stable")
    found = np.full(len(scale), np.inf)
    for i in range(0, len(order), BLOCK):
        block = order[i : i + BLOCK]
        if clipped[block[0]] > (1.0 + SLACK) * found.min():
            break
        steps = x * (1 / scale[block])
        q = np.rint(steps)
        np.maximum(q, least[block], out=q)
        np.minimum(q, least[block] + 255, out=q)
        q -= steps
        q *= q
        found[block] = (q @ weight).astype(np.float64) * scale[block, 0] ** 2
    return found


def _clipped(
    bins: Bins, lows: NDArray[np.float32], highs: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean square of the distance of all elements from each range."""
    moments = bins.moments
    below = moments[:, np.searchsorted(bins.x, lows)]
    above = moments[:, -1:] - moments[:, np.searchsorted(bins.x, highs)]
    found = np.zeros(len(lows))
    for end, (zeroth, first, second) in ((lows, below), (highs, above)):
        x = end.astype(np.float64)
        found += second - 2 * x * first + x**2 * zeroth
    return found


def _bins(statistics: TensorStatistics, reach: float) -> Bins:
    """At most MAX_BINS; the bin that begins at 0 stands for 0."""
    counts, edges = statistics.counts, statistics.edges
    factor = -(-len(counts) // MAX_BINS)
    starts = np.arange(0, len(counts), factor)
    merged = np.add.reduceat(counts, starts)
    ends = np.append(edges[starts], edges[-1])
    centres = (ends[:-1] + ends[1:]) / 2
    centres[(ends[:-1] <= 0.0) & (ends[1:] > 0.0)] = 0.0
    held = merged > 0
    total = max(int(merged.sum()), 1)
    x = (centres[held] / (reach or 1.0)).astype(np.float32)
    weight = (merged[held] / total).astype(np.float32)
    powers = np.stack([weight, weight * x, weight * x**2]).astype(np.float64)
    return Bins(x, weight, np.pad(np.cumsum(powers, axis=1), ((0, 0), (1, 0))))
