"""Range rule: everything that was observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.graph.observers._mass import within
from gossamer.step import RangeRule

if TYPE_CHECKING:
    from gossamer.statistics import TensorStatistics


@dataclass(frozen=True, kw_only=True, slots=True)
class MinMax(RangeRule):
    """The exact extremes: nothing clips, and one outlier costs everybody resolution.

    Jacob et al. 2018, arXiv:1712.05877, section 3. The one to take where calibration saw everything
    that will come, and where the largest values count (outputs, few samples).
    """

    def range(
        self,
        statistics: TensorStatistics,
        *,
        symmetric: bool,
    ) -> tuple[float, float]:
        """(low, high) with low <= 0 <= high, never wider than the observed extremes and 0."""
        return within(statistics, statistics.low, statistics.high)
