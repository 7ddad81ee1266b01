"""The whole search of compress and tune: baselines, a strategy, the verdict."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gossamer import plugins, store
from gossamer.diagnosis import decibel
from gossamer.measure.environment import environment
from gossamer.result import Candidate, Result
from gossamer.search.finalists import (
    LONG_SECONDS,
    MOST,
    SECONDS,
    confirm,
    expected_seconds,
    finalists,
    is_clear,
)
from gossamer.search.ladder import Rung
from gossamer.search.limits import Limits
from gossamer.search.modules import Modules, Observed
from gossamer.search.placements import gain_of_placement
from gossamer.search.prepare import Prepared, planned
from gossamer.search.quantity import front
from gossamer.search.shared import Shared
from gossamer.search.strategy import Work
from gossamer.search.trial import Trial, Trials
from gossamer.search.verdict import best, judged, kept, least
from gossamer.step import Calibration
from gossamer.task import example, has_sequence

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.search.executor import Executor
    from gossamer.statistics import Statistics

LOOK_SECONDS = 1.0  # between looks at what other processes do
CALIBRATED, EVERYWHERE = "statistics.npz", "statistics-everywhere.npz"


def search(
    prepared: Prepared,
    study: store.Study | Shared,
    started: float,
    finish: Callable[[Callable[[], Result]], Result],
) -> Result:
    """The outcome for a prepared request; every finished candidate is in `study` at once.

    Args:
        prepared: The request, opened and checked.
        study: Knows the candidates that earlier, killed runs and other processes finished.
        started: `time.monotonic()` at which the time budget began.
        finish: Has the outcome made, writes it down and gives it back; where another process of
            the study did that, it gives back what that wrote. One process at a time calls it.
    """
    with begun(prepared, study, started) as work:
        executor: Executor = plugins.parse("executors", prepared.request.executor)
        executor.explore(work)
        with store.alone(prepared.out / "cache" / "finish.lock"):
            while work.shared is not None and work.shared.is_busy():
                time.sleep(LOOK_SECONDS)
            return finish(lambda: _outcome(work, started))


@contextlib.contextmanager
def begun(prepared: Prepared, study: store.Study | Shared, started: float) -> Iterator[Work]:
    """What a strategy works with, float baselines measured; they stay open until the end."""
    rungs = planned(prepared)
    cache = prepared.out / "cache"
    observed = Observed(prepared, prepared.model, cache / CALIBRATED)
    everywhere = Observed(prepared, prepared.model, cache / EVERYWHERE, is_uniform=True)
    feeds = prepared.data.calibration.feeds
    with Trials(_trial(prepared, study)) as trials:
        limits = Limits(
            prepared=prepared,
            trials=trials,
            started=started,
            is_calibrated=lambda: observed.statistics is not None,
        )
        trials.measure_baselines([r for r in rungs if r.is_baseline])
        yield Work(
            prepared=prepared,
            trials=trials,
            calibration=Calibration(statistics=observed, feeds=feeds, everywhere=everywhere),
            limits=limits,
            rungs=rungs,
            observed=lambda: observed.statistics,
            shared=study if isinstance(study, Shared) else None,
        )


def _outcome(work: Work, started: float) -> Result:
    """The winner among all that was tried, and what the report split says of it."""
    prepared, trials, limits = work.prepared, work.trials, work.limits
    first, request = prepared.wanted.objectives[0], prepared.request
    if work.shared is not None:
        trials.adopt(work.shared.documents())
        _made_here(work)
    if first.name in ("latency", "throughput"):
        winner = best(trials, _final(trials, limits))
    else:
        winner = least(trials, first)
    gain = gain_of_placement(trials, winner, limits)
    met = [c for c in trials.candidates.values() if c.within_budget]
    among = front(met, prepared.wanted.objectives) if request.plan else []
    trials.forget_files({*kept(trials, winner), *(c.id for c in among)})
    prepared.progress.stage("report split")
    winner, verdict, reason = judged(prepared, trials, winner, limits.report_split())
    return Result(
        out=prepared.out,
        verdict=verdict,
        reason=reason,
        model=_model_record(prepared),
        task=_task_record(prepared),
        max_drop=request.max_drop or prepared.task.default_drop,
        environment=environment(prepared.threads).dump(),
        calibration=_calibration_record(work.observed()),
        baseline=trials.baseline,
        winner=winner,
        candidates=tuple(trials.candidates.values()),
        seconds=time.monotonic() - started,
        placement=gain,
        objectives=tuple(prepared.wanted.told) if request.plan else (),
        front=tuple(c.id for c in among),
        batch=request.batch,
        length=request.length if has_sequence(prepared.model.inputs) else None,
        sensitivity=_sensitivity(trials, winner),
    )


def _sensitivity(trials: Trials, winner: Candidate | None) -> dict[str, float]:
    """What each site does to the outputs alone, where sites of a target were ranked.

    Of the winner's target; a float model that wins leaves the sites of any.
    """
    if winner is None:
        return {}
    others = next(iter(trials.damages.values()), ()) if winner.is_float else ()
    ranked = trials.damages.get(winner.target, others)
    # no damage at all is what sites have that there was no time for
    return {site: decibel(1.0, noise) for site, noise in ranked if noise > 0}


def _made_here(work: Work) -> None:
    """Make and measure here the best candidates that other machines measured and have."""
    trials, first = work.trials, work.prepared.wanted.objectives[0]
    met = [c for c in trials.candidates.values() if c.within_budget and not c.is_float]
    for found in sorted(met, key=first.cost)[:MOST]:
        if found.path is None:
            request = work.prepared.request
            rung = Rung.of(found.recipe, request.cpu, request.seed, found.label)
            trials.evaluate(rung, work.calibration, is_again=True)


def _trial(prepared: Prepared, study: store.Study | Shared) -> Trial:
    request, data = prepared.request, prepared.data
    first = next(iter(data.calibration.feeds()))
    return Trial(
        modules=Modules(prepared),
        task=prepared.task,
        search=data.search,
        feed=example(prepared.model.inputs, first, request.batch, request.length),
        batch=request.batch,
        threads=prepared.threads,
        seconds=prepared.seconds,
        max_drop=prepared.max_drop,
        constraints=prepared.wanted.constraints,
        out=prepared.out,
        study=study,
        progress=prepared.progress,
    )


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
        "dataset": _name(prepared.request.data),
        "remarks": data.remarks,
        **dict(data.description),
    }


def _name(data: Path | None) -> str | None:
    """What people call data that lies there: the name of the folder, or of the file."""
    if data is None:
        return None
    place = data.resolve()
    return place.stem if place.is_file() else place.name


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
