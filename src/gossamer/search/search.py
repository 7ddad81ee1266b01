"""The whole search of compress: baselines, the ladder, the repair, the verdict."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gossamer import store
from gossamer.errors import CalibrationError
from gossamer.graph.calibrate import load, save
from gossamer.measure.environment import environment
from gossamer.result import Candidate, Result
from gossamer.run import calibrate
from gossamer.search.drop_worst import RANKING_SAMPLES, drop_worst, rank, without
from gossamer.search.finalists import (
    LONG_SECONDS,
    SECONDS,
    confirm,
    expected_seconds,
    finalists,
    is_clear,
)
from gossamer.search.limits import Limits
from gossamer.search.placements import gain_of_placement, placements
from gossamer.search.prepare import Prepared, planned
from gossamer.search.trial import Trial, Trials
from gossamer.search.verdict import best, judged, kept
from gossamer.step import Calibration
from gossamer.task import affordable, example

if TYPE_CHECKING:
    from gossamer.search.ladder import Rung
    from gossamer.statistics import Statistics

CALIBRATED, EVERYWHERE = "statistics.npz", "statistics-everywhere.npz"


def search(prepared: Prepared, study: store.Study, started: float) -> Result:
    """The outcome for a prepared request; every finished candidate is in `study` at once.

    Args:
        prepared: The request, opened and checked.
        study: Knows the candidates that an earlier, killed run finished.
        started: `time.monotonic()` at which the time budget began.
    """
    request, data, progress = prepared.request, prepared.data, prepared.progress
    rungs = planned(prepared)
    floats = [r for r in rungs if r.label == "float32"]
    observed = _Observed(prepared, CALIBRATED)
    everywhere = _Observed(prepared, EVERYWHERE, is_uniform=True)
    feeds = data.calibration.feeds
    calibration = Calibration(statistics=observed, feeds=feeds, everywhere=everywhere)
    with Trials(_trial(prepared, study)) as trials:
        limits = Limits(
            prepared=prepared,
            trials=trials,
            started=started,
            is_calibrated=lambda: observed.statistics is not None,
        )
        trials.measure_baselines(floats)
        rest = [r for r in rungs if r not in floats]
        progress.stage("candidates", len(rest))
        others = placements(trials, prepared, limits, rungs)
        _climb(trials, itertools.chain(rest, others), calibration, limits)
        if observed.statistics is not None:
            _repair(prepared, trials, rungs, calibration, limits)
        winner = best(trials, _final(trials, limits))
        gain = gain_of_placement(trials, winner, limits)
        trials.forget_files(kept(trials, winner))
        progress.stage("report split")
        winner, verdict, reason = judged(prepared, trials, winner, limits.report_split())
        return Result(
            out=prepared.out,
            verdict=verdict,
            reason=reason,
            model=_model_record(prepared),
            task=_task_record(prepared),
            max_drop=request.max_drop or prepared.task.default_drop,
            environment=environment(prepared.threads).dump(),
            calibration=_calibration_record(observed.statistics),
            baseline=trials.baseline,
            winner=winner,
            candidates=tuple(trials.candidates.values()),
            seconds=time.monotonic() - started,
            placement=gain,
        )


def _trial(prepared: Prepared, study: store.Study) -> Trial:
    request, data = prepared.request, prepared.data
    first = next(iter(data.calibration.feeds()))
    return Trial(
        model=prepared.model,
        task=prepared.task,
        search=data.search,
        feed=example(prepared.model.inputs, first, request.batch, request.length),
        batch=request.batch,
        threads=prepared.threads,
        seconds=prepared.seconds,
        max_drop=prepared.max_drop,
        out=prepared.out,
        study=study,
        progress=prepared.progress,
    )


class _Observed:
    """The statistics of one calibration pass: from the cache, or made when first asked for."""

    def __init__(self, prepared: Prepared, name: str, *, is_uniform: bool = False) -> None:
        self._prepared = prepared
        self._path = prepared.out / "cache" / name
        self._is_uniform = is_uniform
        self._refused: CalibrationError | None = None
        self.statistics: Statistics | None = load(self._path) if self._path.exists() else None

    def __call__(self, _: Sequence[str] = ()) -> Statistics:
        if self._refused is not None:
            raise self._refused
        if self.statistics is None:
            try:
                self.statistics = self._collected()
            except CalibrationError as error:
                self._refused = error  # the next candidate would wait for the same answer
                raise
            save(self.statistics, self._path)
        return self.statistics

    def _collected(self) -> Statistics:
        prepared, request = self._prepared, self._prepared.request
        return calibrate(
            prepared.model,
            prepared.exclude,
            prepared.data.calibration,
            cpu=request.cpu,
            threads=prepared.threads,
            seed=request.seed,
            progress=prepared.progress,
            is_uniform=self._is_uniform,
        )


def _climb(trials: Trials, rungs: Iterable[Rung], calibration: Calibration, limits: Limits) -> None:
    """Try every rung; skip what cannot be faster than what is within the budget already.

    A candidate that uses up most of the budget lets the other range rules of its kernels be tried:
    other data would show a part of such candidates outside the budget.
    """
    met: set[str] = set()
    for rung in rungs:
        if rung.placement in met:
            trials.skip(rung, "same kernels as a candidate that is within the budget")
        elif why := limits.reached(rung):
            trials.skip(rung, why)
        else:
            found = trials.evaluate(rung, calibration)
            if found.within_budget and trials.has_room(found):
                met.add(rung.placement)
        trials.trial.progress.advance()


def _final(trials: Trials, limits: Limits) -> list[Candidate]:
    """The finalists, timed once more where time allows; others where all of them fail then.

    On a noisy machine that may leave open whether the fastest is faster at all. Then they are timed
    longer: the noise floor and the intervals shrink with the time.
    """
    seconds = SECONDS
    while found := finalists(trials.candidates.values()):
        if limits.left < expected_seconds(found, seconds):
            return found
        trials.trial.progress.stage("finalists")
        if confirmed := confirm(trials, found, seconds):
            if is_clear(confirmed) or seconds == LONG_SECONDS:
                return confirmed
            seconds = LONG_SECONDS
    return []


def _is_over(limits: Limits, rung: Rung) -> bool:
    return limits.reached(without(rung, ("",))) is not None  # a digest that nobody has


def _is_static(candidate: Candidate) -> bool:
    return any("quantize-static" in step for step in candidate.recipe["graph-steps"])


def _static_met(trials: Trials, target: str) -> bool:
    return any(
        c.within_budget and _is_static(c) and c.target == target for c in trials.candidates.values()
    )


def _repair(
    prepared: Prepared,
    trials: Trials,
    rungs: list[Rung],
    calibration: Calibration,
    limits: Limits,
) -> None:
    """On targets whose static candidates all miss the budget, take the worst sites out."""
    trial = trials.trial
    by_id = {r.recipe.digest(): r for r in rungs}
    for target in prepared.targets:
        tried = [
            c
            for c in trials.candidates.values()
            if c.target == target and c.status == "ok" and _is_static(c) and c.id in by_id
        ]
        if not tried or _static_met(trials, target):
            continue
        rung = by_id[min(tried, key=lambda c: c.drop or 0.0).id]
        is_over = functools.partial(_is_over, limits, rung)
        if is_over():
            continue
        split = affordable(prepared.data.calibration, RANKING_SAMPLES)
        damages = rank(trial, rung, list(split.feeds()), calibration, limits.half())
        trial.progress.stage("take sites out")
        for _ in drop_worst(rung, damages, lambda r: trials.evaluate(r, calibration), is_over):
            trial.progress.advance()


def _model_record(prepared: Prepared) -> dict[str, Any]:
    model = prepared.model
    return {
        "name": prepared.request.model,
        "digest": model.digest,
        **dict(model.description),
        "inputs": [[t.name, t.dtype, t.shape] for t in model.inputs],
        "outputs": [[t.name, t.dtype, t.shape] for t in model.outputs],
    }


def _task_record(prepared: Prepared) -> dict[str, Any]:
    data, task = prepared.data, prepared.task
    return {
        "name": type(task).__module__.rsplit(".", 1)[-1].replace("_", "-"),
        "metric": task.metric_name,
        "higher_is_better": task.higher_is_better,
        "synthetic": data.synthetic,
        "splits": {
            "calibration": len(data.calibration),
            "search": len(data.search),
            "report": len(data.report),
        },
        **dict(data.description),
    }


def _calibration_record(found: Statistics | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "samples": found.samples,
        "seconds": found.seconds,
        "plain_seconds": found.plain_seconds,
        "peak_rss_bytes": found.peak_rss_bytes,
        "plain_rss_bytes": found.plain_rss_bytes,
    }
