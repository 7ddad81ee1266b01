"""The strategy `drop-worst`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import RecipeError
from gossamer.search.drop_worst import repair
from gossamer.search.ladder import Rung
from gossamer.search.strategy import Strategy

if TYPE_CHECKING:
    from gossamer.search.space import Space
    from gossamer.search.strategy import Work


@dataclass(frozen=True, kw_only=True, slots=True)
class DropWorst(Strategy):
    """One recipe, without the sites that cost it most, until it is within the budget.

    Sites are ranked by the noise that each alone puts into the outputs; 1, 2, 4, ... of them leave
    the recipe, then the number is bisected: about log2 of the sites are evaluated.
    """

    def check(self, space: Space | None) -> None:
        """Nothing may be open.

        Raises:
            RecipeError: Something is.
        """
        if space is None or space.is_open:
            raise RecipeError(
                "a recipe in which everything is decided, for drop-worst",
                "one with open places",
                "Decide them, or take another strategy, such as tpe.",
            )

    def explore(self, work: Work) -> None:
        """The recipe, and what is left of it.

        Raises:
            RecipeError: Nothing of it is static int8.
        """
        space, request = work.prepared.wanted.space, work.prepared.request
        assert space is not None  # check() saw to it
        rung = Rung.of(space.data, request.cpu, request.seed, "as written")
        if not rung.is_static:
            raise RecipeError(
                "a recipe with quantize-static, for drop-worst",
                "another one",
                "Sites go back to float in static int8 alone.",
            )
        if not work.limits.reached(rung):
            work.trials.evaluate(rung, work.calibration)
            repair(work, [rung])
