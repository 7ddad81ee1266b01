"""The strategy `ladder`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.search.drop_worst import repair
from gossamer.search.placements import placements
from gossamer.search.strategy import Strategy

if TYPE_CHECKING:
    from gossamer.search.ladder import Rung
    from gossamer.search.strategy import Work


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder(Strategy):
    """What compress does: known recipes from the cheapest on, then the worst sites taken out.

    A recipe that cannot be faster than one within the budget is skipped. Where no static candidate
    of a target is within the budget, sites leave it, worst first, by bisection.
    """

    def explore(self, work: Work) -> None:
        """Float and int8 candidates, other placements, the repair."""
        rest = [r for r in work.rungs if not r.is_baseline]
        work.prepared.progress.stage("candidates", len(rest))
        others = placements(work.trials, work.prepared, work.limits, work.rungs)
        _climb(work, itertools.chain(rest, others))
        if work.limits.is_calibrated():
            repair(work, work.rungs)


def _climb(work: Work, rungs: Iterable[Rung]) -> None:
    """Try every rung; skip what cannot be faster than what is within the budget already.

    A candidate that uses up most of the budget lets the other range rules of its kernels be tried:
    other data would show a part of such candidates outside the budget.
    """
    trials, met = work.trials, set[str]()
    for rung in rungs:
        if rung.placement in met:
            trials.skip(rung, "same kernels as a candidate that is within the budget")
        elif why := work.limits.reached(rung):
            trials.skip(rung, why)
        else:
            found = trials.evaluate(rung, work.calibration)
            if found.within_budget and trials.has_room(found):
                met.add(rung.placement)
        trials.trial.progress.advance()
