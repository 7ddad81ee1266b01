"""Filling the open places of a recipe by one of Optuna's samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.errors import RecipeError
from gossamer.search.ladder import Rung
from gossamer.search.shared import MISSED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gossamer.search.space import Space
    from gossamer.search.strategy import Work

REPEATS = 100  # recipes one after the other that are known already: the space has no more


def check(space: Space | None) -> Space:
    """The space, in which something must be open.

    Raises:
        RecipeError: Nothing is.
    """
    if space is None or not space.is_open:
        raise RecipeError(
            "a recipe with an open place: {choice: [a, b]} or {range: {low: 1, high: 9}}",
            "one in which everything is decided",
            "gossamer run makes what it describes.",
        )
    return space


def explore(work: Work, sampler: Callable[[int], Any] | None) -> None:
    """Recipes until time, trials or the space are used up.

    Args:
        work: With a study that processes share.
        sampler: Optuna's, for a seed, for the next trial; None tries every combination once.
    """
    space, shared = check(work.prepared.wanted.space), work.shared
    assert shared is not None  # a request with a space has one
    if sampler is None:
        shared.queue(list(space.points()))
    request, progress = work.prepared.request, work.prepared.progress
    progress.stage("trials", request.trials)
    repeats = 0
    while repeats < REPEATS and not shared.is_enough(request.trials):
        trial = shared.ask(sampler)
        if trial is None:
            return
        data, label = shared.filled(trial, space)
        rung = Rung.of(data, request.cpu, request.seed, label)
        if not work.trials.is_known(rung) and (why := work.limits.reached(rung)):
            shared.give_back(trial, why)
            return
        try:
            with shared.beating(trial):
                found = work.trials.evaluate(rung, work.calibration)
        except BaseException:
            shared.give_back(trial, "the search ended before it was measured")
            raise
        is_ok = found.status == "ok"
        costs = [o.cost(found) for o in work.prepared.wanted.objectives] if is_ok else []
        if shared.tell(trial, found, costs, work.trials.missed(found)):
            repeats = 0
            progress.advance()
        else:
            repeats += 1


def missed(trial: Any) -> Sequence[float]:
    """By how much a finished trial misses each constraint; 0 or less where it holds."""
    found: Sequence[float] = trial.user_attrs.get(MISSED, (1.0,))
    return found
