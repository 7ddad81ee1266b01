"""When no placement is within the budget: take out the sites that do most damage, by bisection."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer import plugins, store
from gossamer.errors import GossamerError
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.measure.isolate import Successive
from gossamer.measure.noise import worst_noise
from gossamer.run import NO_DATA, plan, run
from gossamer.search.ladder import Rung
from gossamer.step import Calibration
from gossamer.task import affordable

if TYPE_CHECKING:
    from gossamer.result import Candidate
    from gossamer.runtime import Feed
    from gossamer.search.limits import Limits
    from gossamer.search.strategy import Work
    from gossamer.search.trial import Trial
    from gossamer.source import FloatModel
    from gossamer.target import TargetSpec

RANKING_SAMPLES = 8


def drop_worst(
    rung: Rung,
    damages: tuple[tuple[str, float], ...],
    evaluate: Callable[[Rung], Candidate],
    is_over: Callable[[], bool],
) -> Iterator[Candidate]:
    """Candidates with ever better aimed exclusions; stops when the fewest that suffice are known.

    Sites leave worst first. 1, 2, 4, … of them are tried until a candidate is within the budget,
    then the gap to the last that was not is bisected; log2 of the sites, about, are evaluated.
    """
    sites = [site for site, _ in damages]
    failing, passing = 0, None
    for count in itertools.takewhile(lambda n: n < len(sites), (2**i for i in range(32))):
        if is_over():
            return
        found = evaluate(without(rung, tuple(sites[:count])))
        yield found
        if found.within_budget:
            passing = count
            break
        failing = count
    while passing is not None and passing - failing > 1 and not is_over():
        middle = (failing + passing) // 2
        found = evaluate(without(rung, tuple(sites[:middle])))
        yield found
        if found.within_budget:
            passing = middle
        else:
            failing = middle


def repair(work: Work, rungs: Sequence[Rung]) -> None:
    """On targets whose static candidates all miss the budget, take the worst sites out.

    Args:
        work: With what was tried so far.
        rungs: Those of which the best one of each target is repaired.
    """
    trials, trial = work.trials, work.trials.trial
    by_id = {r.recipe.digest(): r for r in rungs}
    for target in work.prepared.targets:
        static = [c for c in trials.candidates.values() if c.target == target and _is_static(c)]
        tried = [c for c in static if c.status == "ok" and c.id in by_id]
        if not tried or any(c.within_budget for c in static):
            continue
        rung = by_id[min(tried, key=lambda c: c.drop or 0.0).id]
        is_over = functools.partial(_is_over, work.limits, rung)
        if is_over():
            continue
        split = affordable(work.prepared.data.calibration, RANKING_SAMPLES)
        damages = rank(trial, rung, list(split.feeds()), work.calibration, work.limits.half())
        trials.damages[target] = damages
        trial.progress.stage("take sites out")
        for _ in drop_worst(rung, damages, lambda r: trials.evaluate(r, work.calibration), is_over):
            trial.progress.advance()


def _is_over(limits: Limits, rung: Rung) -> bool:
    return limits.reached(without(rung, ("",))) is not None  # a digest that nobody has


def _is_static(candidate: Candidate) -> bool:
    return any("quantize-static" in step for step in candidate.recipe["graph-steps"])


def without(rung: Rung, sites: tuple[str, ...]) -> Rung:
    """The same recipe with `sites` left in float."""
    steps = tuple(
        dataclasses.replace(step, reverted=tuple(sorted({*step.reverted, *sites})))
        if isinstance(step, QuantizeStatic)
        else step
        for step in rung.recipe.graph_steps
    )
    recipe = dataclasses.replace(rung.recipe, graph_steps=steps)
    label = f"{rung.label}, {len(sites)} in float"
    return Rung(label=label, recipe=recipe, placement=f"{rung.placement} -{len(sites)}")


def _static_steps(rung: Rung) -> list[QuantizeStatic]:
    return [step for step in rung.recipe.graph_steps if isinstance(step, QuantizeStatic)]


def rank(
    trial: Trial,
    rung: Rung,
    feeds: list[Feed],
    calibration: Calibration,
    is_over: Callable[[], bool],
) -> tuple[tuple[str, float], ...]:
    """Sites and the damage each does alone, worst first.

    Damage is noise power over signal power of the worst float output when only that site is
    quantized (mechanics: sensitivity by output SQNR), over a few calibration samples.
    """
    exclude = [name for step in _static_steps(rung) for name in step.exclude]
    model, calibration = trial.modules.opened(rung.recipe, calibration)
    decisions = plan(model, rung.recipe.target, rung.recipe.cpu, exclude).quantized
    sites = [d.site for d in decisions if d.weight is not None]
    everything = [d.site for d in decisions]
    trial.progress.stage("rank sites", len(sites))
    spec: TargetSpec = plugins.load("targets", rung.recipe.target)
    with Successive(spec.runtime, threads=trial.threads) as process:
        ranking = _Ranking(trial=trial, model=model, feeds=feeds, process=process)
        target = dataclasses.replace(rung.recipe, graph_steps=(), precision="f32")
        expected = ranking.outputs(dataclasses.replace(rung, recipe=target), NO_DATA)
        damages = []
        for site in sites:
            if is_over():
                break
            alone = without(rung, tuple(s for s in everything if s != site))
            damages.append((site, ranking.damage(alone, expected, calibration)))
            trial.progress.advance()
    ranked = sorted(damages, key=lambda pair: -pair[1])
    seen = {site for site, _ in ranked}
    return (*ranked, *((site, 0.0) for site in sites if site not in seen))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranking:
    """Files that are made, run on a few samples in one process, and thrown away."""

    trial: Trial
    model: FloatModel
    feeds: list[Feed]
    process: Successive

    def outputs(self, rung: Rung, calibration: Calibration) -> list[Feed]:
        trial, recipe = self.trial, rung.recipe
        folder: Path = trial.out / "cache" / "ranking" / recipe.digest()
        artifact = run(self.model, recipe, folder, calibration, trial.progress)
        try:
            session = self.process.open(artifact.path, recipe.precision)
            return [session.run(feed) for feed in self.feeds]
        finally:
            store.remove(folder)

    def damage(self, rung: Rung, expected: list[Feed], calibration: Calibration) -> float:
        try:
            return worst_noise(expected, self.outputs(rung, calibration))
        except GossamerError:
            return float("inf")
