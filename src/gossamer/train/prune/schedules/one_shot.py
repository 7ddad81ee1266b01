"""The schedule `one-shot`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gossamer.train.prune.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class OneShot(Schedule):
    """Everything at once, where pruning starts; s = s_f as soon as t > 0."""

    is_gradual: ClassVar[bool] = False

    def sparsity(self, time: float, first: float, last: float) -> float:
        """`first` at 0, `last` ever after."""
        return last if time > 0 else first
