"""The schedule `exponential`."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.train.prune.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponential(Schedule):
    """The same share of what is left at every update: 1 - s = (1 - s_i) ((1 - s_f) / (1 - s_i))^t.

    Where nothing is to be left, that share cannot be said, and everything goes at the end.
    """

    def sparsity(self, time: float, first: float, last: float) -> float:
        """With a density that is a geometric row."""
        if time >= 1 or first >= 1:
            return last
        density = (1 - first) * ((1 - last) / (1 - first)) ** time
        return min(max(1 - density, first), last) if time > 0 else first
