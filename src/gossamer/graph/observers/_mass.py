"""What several range rules read off a histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.statistics import TensorStatistics


def within(statistics: TensorStatistics, low: float, high: float) -> tuple[float, float]:
    """[low, high] cut to the observed extremes, then widened to contain 0."""
    return (
        min(max(low, statistics.low), 0.0),
        max(min(high, statistics.high), 0.0),
    )


def cumulated(statistics: TensorStatistics) -> NDArray[np.float64]:
    """Share of the elements below each edge, `[bins + 1]`; all 0 if nothing was counted."""
    mass = np.concatenate([[0.0], np.cumsum(statistics.counts, dtype=np.float64)])
    share: NDArray[np.float64] = mass / max(mass[-1], 1.0)
    return share


def cumulated_magnitudes(
    statistics: TensorStatistics, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of `bins` equal bins of |x|, and the share of elements below each."""
    reach = max(-statistics.low, statistics.high)
    edges = np.linspace(0.0, reach, bins + 1)
    mass = cumulated(statistics)
    right = np.interp(edges, statistics.edges, mass)
    left = np.interp(-edges, statistics.edges, mass)
    share: NDArray[np.float64] = right - left
    share[-1] = mass[-1]  # the outermost bins may reach beyond the extremes, no element does
    return edges, share


def quantile(edges: NDArray[np.float64], mass: NDArray[np.float64], share: float) -> float:
    """Where `mass`, linear within each bin, first reaches `share`; the last edge if it never does.

    Between two elements that lie far apart this is in the bin of one, not in the empty ones.
    """
    i = min(int(np.searchsorted(mass, share)), len(mass) - 1)  # the right edge of that bin
    if i == 0:
        return float(edges[0])
    rest = (mass[i] - share) / max(mass[i] - mass[i - 1], np.finfo(np.float64).tiny)
    return float(edges[i] - max(rest, 0.0) * (edges[i] - edges[i - 1]))


def plateau(values: NDArray[np.float64], errors: NDArray[np.float64], slack: float) -> float:
    """The middle of the values whose error is within `slack` of the least, as a fraction of it.

    Around its minimum an error curve is flat and jagged, so that its lowest point is noise.
    """
    return float(values[errors <= errors.min() * (1.0 + slack)].mean())
