"""The strategy `grid`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossamer.search import sampled
from gossamer.search.strategy import Strategy

if TYPE_CHECKING:
    from gossamer.search.space import Space
    from gossamer.search.strategy import Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid(Strategy):
    """Every combination once; ranges need a step, or whole numbers."""

    is_alone: ClassVar[bool] = False

    def check(self, space: Space | None) -> None:
        """Something must be open, and every range have an end.

        Raises:
            RecipeError: It is not so.
        """
        list(sampled.check(space).points())

    def explore(self, work: Work) -> None:
        """Recipes until time, trials or the space are used up."""
        sampled.explore(work, None)
