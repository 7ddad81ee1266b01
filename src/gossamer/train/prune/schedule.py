"""What a schedule is: the sparsity at every moment of pruning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule(ABC):
    """One way from the first sparsity to the last.

    Attributes:
        is_gradual: Whether it takes time; what does not is pruned once, where pruning starts.
    """

    is_gradual: ClassVar[bool] = True

    @abstractmethod
    def sparsity(self, time: float, first: float, last: float) -> float:
        """The sparsity at `time`, 0 to 1: `first` at 0, `last` at 1, and never less than before.

        Args:
            time: Share of the pruning that has passed.
            first: Sparsity before it, 0 to `last`.
            last: Sparsity after it, at most 1.
        """
