"""The schedule `linear`."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.train.prune.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear(Schedule):
    """As many weights at every update: s = s_i + (s_f - s_i) t."""

    def sparsity(self, time: float, first: float, last: float) -> float:
        """On the straight line from `first` to `last`."""
        return (1 - time) * first + time * last
