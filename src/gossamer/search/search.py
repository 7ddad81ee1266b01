"""The whole search of compress: baselines, the ladder, the repair, the verdict."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import store
from gossamer.graph.calibrate import load, save
from gossamer.measure.environment import environment
from gossamer.measure.isolate import Isolated
from gossamer.measure.score import References, drop, paired_interval, score, score_baseline
from gossamer.result import Candidate, Result, Verdict
from gossamer.run import calibrate
from gossamer.search.drop_worst import RANKING_SAMPLES, drop_worst, rank
from gossamer.search.prepare import Prepared, planned
from gossamer.search.trial import Trial, Trials, affordable
from gossamer.task import example

if TYPE_CHECKING:
    from gossamer.run import Lookup
    from gossamer.search.ladder import Rung
    from gossamer.statistics import Statistics

CALIBRATED = "statistics.npz"
REPORT_ROWS = 5000


def search(prepared: Prepared, study: store.Study, started: float) -> Result:
    """The outcome for a prepared request; every finished candidate is in `study` at once.

    Args:
        prepared: The request, opened and checked.
        study: Knows the candidates that an earlier, killed run finished.
        started: `time.monotonic()` at which the time budget began.
    """
    request, data, progress = prepared.request, prepared.data, prepared.progress
    first = next(iter(data.calibration.feeds()))
    trial = Trial(
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
        progress=progress,
    )
    rungs = planned(prepared)
    floats = [r for r in rungs if r.label == "float32"]
    statistics: list[Statistics] = []

    def observed(_: Sequence[str]) -> Statistics:
        if not statistics:
            statistics.append(_calibrated(prepared))
        return statistics[0]

    def is_over() -> bool:
        return time.monotonic() - started > prepared.seconds or (
            request.trials is not None
            and sum(c.status != "skipped" for c in trials.candidates.values())
            >= request.trials + len(floats)
        )

    with Trials(trial) as trials:
        trials.measure_baselines(floats)
        rest = [r for r in rungs if r.label != "float32"]
        progress.stage("candidates", len(rest))
        _climb(trials, rest, observed, is_over)
        if statistics:
            _repair(prepared, trials, rungs, observed, is_over)
        winner = _winner(trials)
        trials.forget_files(_kept(trials, winner))
        progress.stage("report split")
        winner, verdict, reason = _reported(prepared, trials, winner)
    return Result(
        out=prepared.out,
        verdict=verdict,
        reason=reason,
        model=_model_record(prepared),
        task=_task_record(prepared),
        max_drop=request.max_drop or prepared.task.default_drop,
        environment=environment(prepared.threads).dump(),
        calibration=_calibration_record(statistics),
        baseline=trials.baseline,
        winner=winner,
        candidates=tuple(trials.candidates.values()),
        seconds=time.monotonic() - started,
    )


def _climb(
    trials: Trials, rungs: list[Rung], observed: Lookup, is_over: Callable[[], bool]
) -> None:
    """Try every rung; skip what cannot be faster than what is within the budget already."""
    met: set[str] = set()
    for rung in rungs:
        if is_over():
            trials.skip(rung, "the time or the number of trials was used up")
        elif rung.placement in met:
            trials.skip(rung, "same kernels as a candidate that is within the budget")
        else:
            found = trials.evaluate(rung, observed)
            if found.within_budget:
                met.add(rung.placement)
        trials.trial.progress.advance()


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
    observed: Lookup,
    is_over: Callable[[], bool],
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
        if not tried or _static_met(trials, target) or is_over():
            continue
        rung = by_id[min(tried, key=lambda c: c.drop or 0.0).id]
        split = affordable(prepared.data.calibration, RANKING_SAMPLES)
        damages = rank(trial, rung, list(split.feeds()), observed, is_over)
        trial.progress.stage("take sites out")
        for _ in drop_worst(rung, damages, lambda r: trials.evaluate(r, observed), is_over):
            trial.progress.advance()


def _winner(trials: Trials) -> Candidate:
    """The fastest candidate within the budget that is faster than noise explains, else float."""
    fast = [
        c
        for c in trials.candidates.values()
        if c.status == "ok"
        and c.within_budget
        and c.speedup is not None
        and c.speedup_interval is not None
        and c.path is not None
        and c.speedup_interval[0] > 1.0 + (c.noise_floor or 0.0)
    ]
    return max(fast, key=lambda c: c.speedup or 0.0) if fast else trials.baseline


def _kept(trials: Trials, winner: Candidate) -> set[str]:
    """Candidates whose files stay: the winner, the float models, the best of every runtime."""
    keep = {winner.id, *(f.candidate.id for f in trials.floats.values())}
    for runtime in {c.runtime for c in trials.candidates.values()}:
        best = [
            c
            for c in trials.candidates.values()
            if c.runtime == runtime and c.within_budget and c.path is not None
        ]
        if best:
            keep.add(max(best, key=lambda c: c.speedup or 0.0).id)
    return keep


def _reported(
    prepared: Prepared, trials: Trials, winner: Candidate
) -> tuple[Candidate, Verdict, str]:
    """The winner with its report score, the verdict, and the reason in one sentence."""
    base, task = trials.baseline, prepared.task
    split = affordable(prepared.data.report, max(REPORT_ROWS, len(trials.split)))
    median = (base.latency_ms or {}).get("median", 1.0) / 1000 / trials.trial.batch
    split = affordable(split, max(len(trials.split), int(0.1 * prepared.seconds / median)))
    references = References(prepared.out / "cache" / "references" / "report")
    scored = []
    for candidate, judge in ((base, score_baseline), (winner, score)):
        if candidate.path is None or (candidate is winner and winner.id == base.id):
            continue
        with Isolated(
            candidate.runtime,
            _file(prepared.out, candidate),
            threads=prepared.threads,
            precision="f32" if candidate.recipe["precision"] == "f32" else "default",
        ) as session:
            scored.append(judge(session, task, split, references))
    float_score = scored[0].value
    trials.keep(dataclasses.replace(base, report_score=float_score, report_drop=0.0))
    if winner.id == base.id:
        found = dataclasses.replace(
            trials.baseline, speedup=1.0, report_interval=(0.0, 0.0), within_budget=True
        )
        trials.keep(found)
        return found, "met", _why_float(trials)
    low, high = paired_interval(task, scored[0].rows, scored[1].rows, seed=prepared.request.seed)
    found = dataclasses.replace(
        winner,
        report_score=scored[1].value,
        report_drop=drop(task, float_score, scored[1].value),
        report_interval=(low, high),
    )
    trials.keep(found)
    gain = f"{winner.label} on {winner.target} is {winner.speedup:.2f} times as fast as float"
    if prepared.max_drop.holds(low, float_score):
        return found, "met", f"{gain}, within the budget on both splits"
    return (
        found,
        "best_effort",
        f"{gain}, but the report split contradicts the budget: the drop there is "
        f"{low:.4g} to {high:.4g}",
    )


def _why_float(trials: Trials) -> str:
    tried = [c for c in trials.candidates.values() if c.status == "ok" and not c.is_float]
    met = [c for c in tried if c.within_budget]
    if not tried:
        return "the float model wins: no candidate could be built and measured"
    if not met:
        return "the float model wins: no candidate is within the accuracy budget"
    return "the float model wins: nothing within the budget was faster beyond the noise floor"


def _file(out: Path, candidate: Candidate) -> Path:
    name = next(n for n in candidate.files if n.endswith((".onnx", ".xml")))
    return out / (candidate.path or "") / name


def _calibrated(prepared: Prepared) -> Statistics:
    """The statistics of the one calibration pass, from the cache if it was made already."""
    path = prepared.out / "cache" / CALIBRATED
    if path.exists():
        return load(path)
    request = prepared.request
    found = calibrate(
        prepared.model,
        prepared.targets,
        prepared.data.calibration,
        cpu=request.cpu,
        threads=prepared.threads,
        seed=request.seed,
        progress=prepared.progress,
    )
    save(found, path)
    return found


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


def _calibration_record(statistics: list[Statistics]) -> dict[str, Any] | None:
    if not statistics:
        return None
    found = statistics[0]
    return {
        "samples": found.samples,
        "seconds": found.seconds,
        "plain_seconds": found.plain_seconds,
        "peak_rss_bytes": found.peak_rss_bytes,
        "plain_rss_bytes": found.plain_rss_bytes,
    }
