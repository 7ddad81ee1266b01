"""Range rule: a moving average of each sample's extremes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import RecipeError
from gossamer.graph.observers._mass import within
from gossamer.step import RangeRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.statistics import TensorStatistics


@dataclass(frozen=True, kw_only=True, slots=True)
class MovingAverage(RangeRule):
    """m <- m + c (new - m) over the extremes of the samples in feeding order, m = the first.

    Jacob et al. 2018, arXiv:1712.05877, section 3.1. Forgives a few odd samples among many, not
    odd elements that every sample has; for samples in the order in which they will come.

    Attributes:
        c: Weight of the newest sample. With the default the first sample's weight falls below 1 %
            after 44 samples; with 0.01 it would still be 28 % after 128.
    """

    c: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.c <= 1.0:
            raise RecipeError("a weight c in (0, 1]", repr(self.c), "0.1 is usual.")

    def range(
        self,
        statistics: TensorStatistics,
        *,
        symmetric: bool,
    ) -> tuple[float, float]:
        """(low, high) with low <= 0 <= high, never wider than the observed extremes and 0."""
        return within(
            statistics,
            self._average(statistics.sample_low),
            self._average(statistics.sample_high),
        )

    def _average(self, extremes: NDArray[np.float32]) -> float:
        # the recursion, written out
        weights = self.c * (1.0 - self.c) ** np.arange(len(extremes))[::-1]
        weights[:1] /= self.c
        return float(weights @ extremes.astype(np.float64))
