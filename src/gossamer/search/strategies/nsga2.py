"""The strategy `nsga2`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gossamer.plugins import require
from gossamer.search import sampled
from gossamer.search.strategy import Strategy

if TYPE_CHECKING:
    from gossamer.search.space import Space
    from gossamer.search.strategy import Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Nsga2(Strategy):
    """Generations of recipes that mix those of the front before; for several objectives.

    Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (Optuna's
    sampler).

    Attributes:
        population: Trials of each generation.
    """

    is_alone: ClassVar[bool] = False
    population: int = 10

    def check(self, space: Space | None) -> None:
        """Something must be open.

        Raises:
            RecipeError: Nothing is.
        """
        sampled.check(space)

    def explore(self, work: Work) -> None:
        """Recipes until time, trials or the space are used up."""
        sampled.explore(work, self._sampler)

    def _sampler(self, seed: int) -> Any:
        samplers = require("optuna", "search", "searches").samplers
        return samplers.NSGAIISampler(
            seed=seed, population_size=self.population, constraints_func=sampled.missed
        )
