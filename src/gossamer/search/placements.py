"""Other placements than by the target's own rules: int8 everywhere, and where it was timed to pay.

Both are made of the best static candidate of a target, once there is one within the budget. Where
their sites are the same as those of another candidate they are no candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gossamer.errors import GossamerError
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.measure.measure import Contender, measure_latency
from gossamer.run import FEW_SAMPLES
from gossamer.search.finalists import OVERHEAD, SECONDS, fastest, model_file
from gossamer.search.kernels import Asked, Survey, measured, survey
from gossamer.search.ladder import Rung
from gossamer.search.limits import PASSES, SESSION_SECONDS

if TYPE_CHECKING:
    from gossamer.result import Candidate
    from gossamer.search.kernels import Profile
    from gossamer.search.limits import Limits
    from gossamer.search.prepare import Prepared
    from gossamer.search.trial import Trials

PROFILE_SHARE = 0.1  # of the time budget that timing the kernels of one target may take
UNIFORM, MEASURED = "int8 everywhere", "measured placement"


def placements(
    trials: Trials, prepared: Prepared, limits: Limits, rungs: Collection[Rung]
) -> Iterator[Rung]:
    """Candidates with other placements, of every target that has a static one within the budget."""
    by_id = {r.recipe.digest(): r for r in rungs if r.is_static}
    for target in prepared.targets:
        met = [
            c
            for c in trials.candidates.values()
            if c.id in by_id and c.target == target and c.within_budget
        ]
        if not met or limits.left < _expected_seconds(limits):
            continue
        rung = by_id[fastest(met).id]
        if limits.reached(_placed(rung, UNIFORM, {"": ""})):  # a digest that nobody has
            continue
        try:
            found = survey(_asked(prepared, trials, rung), prepared.progress)
        except GossamerError as error:
            prepared.progress.note(f"other placements on {target} are not tried: {error}")
            continue
        yield from _different(found, rung, prepared, limits)


def gain_of_placement(trials: Trials, winner: Candidate, limits: Limits) -> dict[str, Any] | None:
    """How much faster the winner is than int8 everywhere on its target, in one interleaved run.

    None where there is no such candidate, the winner is none of static int8, or time is up.
    """
    rivals = [
        c
        for c in trials.candidates.values()
        if c.label.endswith(UNIFORM) and c.target == winner.target and c.path is not None
    ]
    is_static = any("quantize-static" in step for step in winner.recipe["graph-steps"])
    if not rivals or not is_static or winner.id == rivals[0].id:
        return None
    if limits.left < 3 * (SECONDS + OVERHEAD):
        return None
    trial = trials.trial
    contenders = [
        Contender(name=c.id, runtime=c.runtime, path=model_file(trial.out, c))
        for c in (rivals[0], winner)
    ]
    try:
        found = measure_latency(
            contenders, trial.feed, threads=trial.threads, seconds=SECONDS, batch=trial.batch
        )
    except GossamerError as error:
        trial.progress.note(f"not timed against {UNIFORM}: {error}")
        return None
    compared = found.ratios[winner.id]
    return {
        "uniform": rivals[0].id,
        "mixed": winner.id,
        "speedup": compared.value,
        "speedup_interval": [compared.low, compared.high],
        "noise_floor": found.noise_floor,
    }


def _expected_seconds(limits: Limits) -> float:
    """To calibrate what the rules do not store, about; a candidate takes its own time beside."""
    return SESSION_SECONDS + PASSES * FEW_SAMPLES * limits.seconds_per_row


def _asked(prepared: Prepared, trials: Trials, rung: Rung) -> Asked:
    (step,) = _static(rung)
    return Asked(
        model=prepared.model,
        target=rung.recipe.target,
        feed=trials.trial.feed,
        cpu=rung.recipe.cpu,
        exclude=step.exclude,
        threads=prepared.threads,
        cache=prepared.request.costs,
    )


def _different(found: Survey, rung: Rung, prepared: Prepared, limits: Limits) -> Iterator[Rung]:
    """Those of the two that store other sites than the target's rules do, and than each other."""
    ruled = frozenset(d.site for d in found.wise.quantized)
    able = frozenset(d.site for d in found.able.quantized)
    if found.asked.cache is not None and _is_quick(found, prepared, limits):
        profile = _measured(found, prepared)
        if profile is not None and profile.in_int8 not in (ruled, able):
            yield _placed(rung, MEASURED, profile.slow)
    if able != ruled:
        yield _placed(rung, UNIFORM, {})


def _measured(found: Survey, prepared: Prepared) -> Profile | None:
    """The profile; None where kernels cannot be timed or their times not be kept."""
    try:
        return measured(found, prepared.progress)
    except GossamerError as error:
        prepared.progress.note(f"{MEASURED} on {found.asked.target} is not tried: {error}")
        return None


def _is_quick(found: Survey, prepared: Prepared, limits: Limits) -> bool:
    if found.expected_seconds <= min(PROFILE_SHARE * prepared.seconds, limits.left):
        return True
    prepared.progress.note(
        f"the kernels of {found.asked.target} are not timed: that would take "
        f"{found.expected_seconds:.0f} s; `gossamer profile` does it once for all"
    )
    return False


def _placed(rung: Rung, name: str, slow: Mapping[str, str]) -> Rung:
    """The same recipe at every site that has an int8 kernel, but for the slow ones."""
    steps = tuple(
        dataclasses.replace(step, placement="uniform", slow=tuple(sorted(slow)))
        if isinstance(step, QuantizeStatic)
        else step
        for step in rung.recipe.graph_steps
    )
    return Rung(
        label=f"{rung.label}, {name}",
        recipe=dataclasses.replace(rung.recipe, graph_steps=steps),
        placement=f"{rung.recipe.target} {name}",
        details=slow,
    )


def _static(rung: Rung) -> list[QuantizeStatic]:
    return [step for step in rung.recipe.graph_steps if isinstance(step, QuantizeStatic)]
