"""Range rule: the least loss of information (Kullback-Leibler divergence)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import RecipeError
from gossamer.graph.observers._mass import cumulated_magnitudes, within
from gossamer.step import RangeRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.statistics import TensorStatistics

BINS = 2048
STEP = 16  # bins between candidates
SMOOTHING = 32  # bins: two levels at full range
TIE = 1e-3  # nats; smaller differences are noise of the sample
FLOOR = 1e-10  # probability of what the quantized distribution cannot express


@dataclass(frozen=True, kw_only=True, slots=True)
class Entropy(RangeRule):
    """A threshold on |x|; `levels` values below it tell most of the distribution.

    1. P is the distribution of |x| below the threshold, with all that lies beyond it in its last
       bin. Exact zeros need no level: the first bin gets the mass of its neighbour.
    2. Q is P without what lies beyond, merged into `levels` groups of equal width and spread
       evenly over the bins of a group that hold anything.
    3. The result is the mean of all thresholds, weighted by exp(-KL(P || Q) / TIE): that with
       the least divergence, where there is one, else the middle of those that are as good.

    One-sided and two-sided values are treated alike: the range is what the threshold leaves of
    the extremes. Fewer elements than levels have no distribution and keep theirs. After Migacz
    2017, "8-bit Inference with TensorRT" (GTC); for long tails.

    Attributes:
        levels: Levels of |x|.
    """

    levels: int = 128

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= BINS // 2:
            raise RecipeError(f"2 to {BINS // 2} levels", repr(self.levels), "128 is usual.")

    def range(
        self,
        statistics: TensorStatistics,
        *,
        symmetric: bool,
    ) -> tuple[float, float]:
        """(low, high) with low <= 0 <= high, never wider than the observed extremes and 0."""
        edges, mass = cumulated_magnitudes(statistics, BINS)
        shares = _smoothed(np.diff(mass))
        if not shares.any() or statistics.counts.sum() < self.levels:
            return within(statistics, statistics.low, statistics.high)
        candidates = np.arange(self.levels, BINS + 1, STEP)
        loss = divergence(shares, candidates, self.levels)
        weights = np.exp((loss.min() - loss) / TIE)
        reach = float(weights @ edges[candidates] / weights.sum())
        return within(statistics, -reach, reach)


def divergence(
    shares: NDArray[np.float64], candidates: NDArray[np.int64], levels: int
) -> NDArray[np.float64]:
    """KL(P || Q) in nats for each threshold, given as a number of bins.

    Everything that depends on a group of bins is a difference of cumulated sums, linear within
    bins where a border of a group cuts one.
    """
    is_used = (shares > 0.0).astype(np.float64)
    mass, used, plogp = (
        np.concatenate([[0.0], np.cumsum(x)]) for x in (shares, is_used, _xlogx(shares))
    )
    borders = candidates[:, None] * np.arange(levels + 1) / levels
    cut = np.minimum(borders.astype(np.intp), len(shares) - 1)
    part = borders - cut
    in_group = np.diff(mass[cut] + part * shares[cut])
    used_in_group = np.diff(used[cut] + part * is_used[cut])
    last = shares[candidates - 1]
    beyond = mass[-1] - mass[candidates]  # exactly 0 where nothing lies beyond

    used_in_group[:, -1] += (last == 0.0) & (beyond > 0.0)
    density = in_group / np.maximum(used_in_group, FLOOR) / mass[candidates, None].clip(FLOOR)
    wanted = in_group.copy()
    wanted[:, -1] += beyond
    own = plogp[candidates] - _xlogx(last) + _xlogx(last + beyond)
    loss: NDArray[np.float64] = own - (wanted * np.log(np.maximum(density, FLOOR))).sum(axis=1)
    return loss


def _smoothed(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares that sum up to 1; differences of neighbouring bins are mostly noise of the sample."""
    shares = np.concatenate([shares[1:2], shares[1:]])
    kernel = np.bartlett(2 * SMOOTHING + 1)
    padded = np.pad(shares, SMOOTHING, mode="constant")
    padded[:SMOOTHING] = shares[SMOOTHING:0:-1]
    smooth = np.convolve(padded, kernel / kernel.sum(), "valid")
    smooth[smooth < 1e-12] = 0.0
    result: NDArray[np.float64] = smooth / max(smooth.sum(), 1e-300)
    return result


def _xlogx(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = x * np.log(np.where(x > 0.0, x, 1.0))
    return result
