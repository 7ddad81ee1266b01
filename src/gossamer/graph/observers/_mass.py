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


def quantile(
    edges: NDArray[np.float64], mass: NDArray[np.float64], share: float, elements: int
) -> float:
    """The value below which `share` of `elements` lie, linear between neighbours (Hazen).

    The elements of a bin lie at equal distances in it. So a quantile between two elements that are
    far apart moves from one to the other with `share`, and does not jump over the empty bins.
    """
    sizes = np.diff(mass)
    filled = np.flatnonzero(sizes > 0.0)
    if not filled.size:
        return float(edges[0])
    half = np.minimum(0.5 / elements, sizes[filled] / 2.0)  # the middle of the outermost elements
    inset = np.diff(edges)[filled] * half / sizes[filled]
    shares = np.stack([mass[filled] + half, mass[filled + 1] - half], axis=1).ravel()
    values = np.stack([edges[filled] + inset, edges[filled + 1] - inset], axis=1).ravel()
    shares, values = np.pad(shares, 1, constant_values=(0.0, 1.0)), np.pad(values, 1)
    values[0], values[-1] = edges[filled[0]], edges[filled[-1] + 1]
    return float(np.interp(share, shares, values))


def plateau(values: NDArray[np.float64], errors: NDArray[np.float64], slack: float) -> float:
    """The middle of the values whose error is within `slack` of the least, as a fraction of it.

    Around its minimum an error curve is flat and jagged, so that its lowest point is noise.
    """
    return float(values[errors <= errors.min() * (1.0 + slack)].mean())
