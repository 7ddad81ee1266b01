"""The executor `local`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.search.executor import Executor

if TYPE_CHECKING:
    from gossamer.search.strategy import Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Local(Executor):
    """This process."""

    def explore(self, work: Work) -> None:
        """Look here."""
        work.prepared.wanted.strategy.explore(work)
