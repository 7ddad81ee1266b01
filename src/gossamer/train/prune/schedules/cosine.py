"""The schedule `cosine`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gossamer.train.prune.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Cosine(Schedule):
    """Slow, fast, slow: s = s_f + (s_i - s_f) (1 + cos πt) / 2."""

    def sparsity(self, time: float, first: float, last: float) -> float:
        """On half a wave from `first` to `last`."""
        rest = (1 + math.cos(math.pi * time)) / 2
        return rest * first + (1 - rest) * last
