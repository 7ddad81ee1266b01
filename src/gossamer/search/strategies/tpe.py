"""The strategy `tpe`."""

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
class Tpe(Strategy):
    """What good trials have in common and others have not, by tree-structured Parzen estimators.

    Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", with values drawn together
    (Optuna's sampler); recipes that miss a constraint count as bad ones.

    Attributes:
        startup: Trials that are drawn at random before it learns.
    """

    is_alone: ClassVar[bool] = False
    startup: int = 10

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
        return samplers.TPESampler(
            seed=seed,
            n_startup_trials=self.startup,
            multivariate=True,
            group=True,
            constraints_func=sampled.missed,
        )
