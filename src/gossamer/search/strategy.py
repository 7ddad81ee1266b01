"""Strategies: what a search tries, and when it stops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossamer.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gossamer.search.ladder import Rung
    from gossamer.search.limits import Limits
    from gossamer.search.prepare import Prepared
    from gossamer.search.shared import Shared
    from gossamer.search.space import Space
    from gossamer.search.trial import Trials
    from gossamer.statistics import Statistics
    from gossamer.step import Calibration


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """What a strategy works with.

    Attributes:
        prepared: The request, opened and checked.
        trials: Evaluates recipes; the float baselines are measured.
        calibration: Of the source, for static quantization.
        limits: Of time and number.
        rungs: What compress would try, baselines first.
        observed: The statistics of the calibration pass; None while there was none.
        shared: Where several processes agree on who tries what; None for compress.
    """

    prepared: Prepared
    trials: Trials
    calibration: Calibration
    limits: Limits
    rungs: Sequence[Rung]
    observed: Callable[[], Statistics | None]
    shared: Shared | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy(ABC):
    """One way to look for the best recipe."""

    is_alone: ClassVar[bool] = True  # one process; else all that share a database may join

    def check(self, space: Space | None) -> None:
        """Raise unless the strategy can look among these recipes; None are those it knows itself.

        Raises:
            RecipeError: It cannot.
        """
        if space is not None:
            raise RecipeError(
                "a strategy that looks among the recipes of a file",
                "one that knows its own",
                "gossamer compress looks among those.",
            )

    @abstractmethod
    def explore(self, work: Work) -> None:
        """Evaluate candidates by `work.trials` until there is no more to try, or to spend."""
