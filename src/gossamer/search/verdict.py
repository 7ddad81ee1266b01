"""Which candidate wins, and what the report split says about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gossamer.measure.isolate import Isolated
from gossamer.measure.score import References, drop, paired_interval, score, score_baseline
from gossamer.result import Candidate, Verdict
from gossamer.search.finalists import fastest, is_faster, model_file

if TYPE_CHECKING:
    from gossamer.measurement import ScoreRows
    from gossamer.search.prepare import Prepared
    from gossamer.search.quantity import Objective
    from gossamer.search.trial import Trials
    from gossamer.task import Split


def best(trials: Trials, among: Sequence[Candidate]) -> Candidate:
    """The fastest finalist that is faster than noise explains, else float."""
    fast = [c for c in among if is_faster(c)]
    return max(fast, key=lambda c: c.speedup or 0.0) if fast else trials.baseline


def least(trials: Trials, objective: Objective) -> Candidate:
    """The candidate within the budget that costs least, the faster one of equals; else float."""
    met = [c for c in trials.candidates.values() if c.within_budget and c.path is not None]
    if not met:
        return trials.baseline
    return min(met, key=lambda c: (objective.cost(c), -(c.speedup or 0.0)))


def kept(trials: Trials, winner: Candidate) -> set[str]:
    """Candidates whose files stay: the winner, the float models, the best of every runtime."""
    keep = {winner.id, *(f.candidate.id for f in trials.floats.values())}
    for runtime in {c.runtime for c in trials.candidates.values()}:
        within = [
            c
            for c in trials.candidates.values()
            if c.runtime == runtime and c.within_budget and c.path is not None
        ]
        if within:
            keep.add(fastest(within).id)
    return keep


def judged(
    prepared: Prepared, trials: Trials, winner: Candidate, split: Split
) -> tuple[Candidate, Verdict, str]:
    """The winner with its report score, the verdict, and the reason in one sentence."""
    base, task = trials.baseline, prepared.task
    expected = _scored(prepared, base, split, score_baseline)
    float_score = expected.value
    trials.keep(dataclasses.replace(base, report_score=float_score, report_drop=0.0))
    if winner.id == base.id:
        is_met = not any(limit.excess(base) > 0 for limit in trials.trial.constraints)
        found = dataclasses.replace(
            trials.baseline, speedup=1.0, report_interval=(0.0, 0.0), within_budget=is_met
        )
        trials.keep(found)
        if is_met:
            return found, "met", _why_float(trials)
        return found, "best_effort", "no candidate is within the budget and all constraints"
    got = _scored(prepared, winner, split, score)
    low, high = paired_interval(task, expected.rows, got.rows, seed=prepared.request.seed)
    found = dataclasses.replace(
        winner,
        report_score=got.value,
        report_drop=drop(task, float_score, got.value),
        report_interval=(low, high),
    )
    trials.keep(found)
    gain = f"{winner.label} on {winner.target} is {winner.speedup:.2f} times as fast as float"
    if prepared.max_drop.holds(found.report_drop or 0.0, float_score):
        return found, "met", f"{gain}, within the budget on both splits"
    if prepared.max_drop.holds(low, float_score):
        return (
            found,
            "met",
            f"{gain}, within the budget; the report split does not contradict the budget: the "
            f"drop there is {found.report_drop:.4g}, in truth {low:.4g} to {high:.4g}",
        )
    return (
        found,
        "best_effort",
        f"{gain}, but the report split contradicts the budget: the drop there is "
        f"{low:.4g} to {high:.4g}",
    )


def _scored(
    prepared: Prepared, candidate: Candidate, split: Split, judge: Callable[..., ScoreRows]
) -> ScoreRows:
    """One candidate on the report split; the float model's outputs become the references."""
    references = References(prepared.out / "cache" / "references" / "report")
    with Isolated(
        candidate.runtime,
        model_file(prepared.out, candidate),
        threads=prepared.threads,
        precision="f32" if candidate.recipe["precision"] == "f32" else "default",
    ) as session:
        return judge(session, prepared.task, split, references)


def _why_float(trials: Trials) -> str:
    tried = [c for c in trials.candidates.values() if c.status == "ok" and not c.is_float]
    met = [c for c in tried if c.within_budget]
    if not tried:
        return "the float model wins: no candidate could be built and measured"
    if not met:
        return "the float model wins: no candidate is within the accuracy budget"
    return "the float model wins: nothing within the budget was faster beyond the noise floor"
