"""The schedule `cubic`."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.train.prune.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Cubic(Schedule):
    """Fast while many weights are worth little, gentle at the end: s = s_f + (s_i - s_f) (1 - t)³.

    Zhu and Gupta 2017, arXiv:1710.01878. Some tools call s_f t³ cubic, which is the opposite order:
    most weights go at the end, when little time is left to make up for them.
    """

    def sparsity(self, time: float, first: float, last: float) -> float:
        """By the third power of the time that is left."""
        rest = (1 - time) ** 3
        return rest * first + (1 - rest) * last
