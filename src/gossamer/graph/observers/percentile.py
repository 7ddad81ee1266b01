"""Range rule: all but the rarest elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import RecipeError
from gossamer.graph.observers._mass import cumulated, cumulated_magnitudes, quantile, within
from gossamer.step import RangeRule

if TYPE_CHECKING:
    from gossamer.statistics import TensorStatistics


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentile(RangeRule):
    """Quantiles of the elements: (1 - p) / 2 and (1 + p) / 2, or p of |x| if symmetric.

    Wu et al. 2020, arXiv:2004.09602, section 5. For values with a few huge elements that mean
    little; a `p` that is too low cuts what means much.

    Attributes:
        p: Percentage of the elements that lie in the range.
    """

    p: float = 99.99

    def __post_init__(self) -> None:
        if not 50.0 <= self.p <= 100.0:
            raise RecipeError("a percentage p from 50 to 100", repr(self.p), "99.99 is usual.")

    def range(self, statistics: TensorStatistics, *, symmetric: bool) -> tuple[float, float]:
        """(low, high) with low <= 0 <= high, never wider than the observed extremes and 0."""
        share, count = self.p / 100.0, max(int(statistics.counts.sum()), 1)
        if symmetric:
            edges, mass = cumulated_magnitudes(statistics, len(statistics.counts))
            reach = quantile(edges, mass, share, count)
            return within(statistics, -reach, reach)
        edges, mass = statistics.edges, cumulated(statistics)
        low = quantile(edges, mass, (1.0 - share) / 2.0, count)
        high = quantile(edges, mass, (1.0 + share) / 2.0, count)
        return within(statistics, low, high)
