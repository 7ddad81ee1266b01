"""Executors: which processes evaluate the candidates of a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from gossamer.search.strategy import Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Executor(ABC):
    """Where a strategy looks."""

    shares: ClassVar[bool] = False  # whether several processes take trials

    @abstractmethod
    def explore(self, work: Work) -> None:
        """Have the strategy of `work` look until it ends, wherever that is."""
