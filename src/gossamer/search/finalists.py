"""The few candidates of which one wins, timed once more."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gossamer import store
from gossamer.measure.measure import Contender, measure_latency
from gossamer.search.candidates import MEASUREMENT
from gossamer.search.trial import REFUSALS

if TYPE_CHECKING:
    from gossamer.measurement import Latency
    from gossamer.result import Candidate
    from gossamer.search.trial import Trials

MOST = 3
SECONDS, LONG_SECONDS = 1.0, 4.0  # that each is timed for, and where noise hides what is gained
GAIN = 1.1  # times as fast; less than that is not worth more time
OVERHEAD = 2.0  # seconds to start each, and to let it come to rest


def finalists(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The fastest within the budget, at most MOST, if they seem faster than float.

    Of those that run the same kernels and differ in numbers only, the closest to float.
    """
    waiting = [
        c
        for c in candidates
        if c.status == "ok" and c.within_budget and c.path is not None and (c.speedup or 0.0) > 1.0
    ]
    found: list[Candidate] = []
    while waiting and len(found) < MOST:
        found.append(fastest(waiting))
        waiting = [c for c in waiting if _kernels(c) != _kernels(found[-1])]
    return found


def fastest(candidates: Sequence[Candidate]) -> Candidate:
    """The fastest, or one with the same kernels that is closer to the float model.

    Closer is what changes fewer answers, whichever way. Of two equally good candidates the drop
    prefers the one whose changes happen to be right on the few samples that there are.
    """
    first = max(candidates, key=lambda c: c.speedup or 0.0)
    equals = [c for c in candidates if _kernels(c) == _kernels(first)]
    return min(equals, key=lambda c: (c.changed or 0.0, c.drop or 0.0, -(c.speedup or 0.0)))


def _kernels(candidate: Candidate) -> str:
    """What its recipe says apart from the rule for ranges: the same text, the same kernels."""
    steps = [
        (name, {k: v for k, v in fields.items() if k != "ranges"})
        for step in candidate.recipe.get("graph-steps", ())
        for name, fields in step.items()
    ]
    recipe = candidate.recipe
    return repr((candidate.target, recipe.get("precision"), recipe.get("module-steps"), steps))


def is_faster(candidate: Candidate) -> bool:
    """Whether it is faster than float by more than noise explains."""
    interval = candidate.speedup_interval
    return interval is not None and interval[0] > 1.0 + (candidate.noise_floor or 0.0)


def is_clear(finalists: Sequence[Candidate]) -> bool:
    """Whether the fastest is faster than noise explains, or not by much anyway."""
    first = max(finalists, key=lambda c: c.speedup or 0.0)
    return is_faster(first) or (first.speedup or 0.0) < GAIN


def expected_seconds(finalists: Sequence[Candidate], seconds: float) -> float:
    """How long `confirm` takes, about: the best float model runs in two processes."""
    return (len(finalists) + 2) * (seconds + OVERHEAD)


def confirm(trials: Trials, finalists: Sequence[Candidate], seconds: float) -> list[Candidate]:
    """The finalists, each timed for `seconds`, without those that do not run again.

    Where one of them brings the measurement down, each is timed alone. Where it is the float model
    that does, they stay as they were timed before.
    """
    try:
        return _timed(trials, finalists, seconds)
    except REFUSALS as error:
        reason = str(error)
    if len(finalists) > 1:
        return [found for candidate in finalists for found in confirm(trials, [candidate], seconds)]
    try:
        _timed(trials, [], seconds)
    except REFUSALS:
        return [*finalists]
    trials.fail(finalists[0], reason)
    return []


def _timed(trials: Trials, finalists: Sequence[Candidate], seconds: float) -> list[Candidate]:
    """Timed in turns with each other and the best float model.

    While candidates come one after the other, each is timed for a moment, long after the noise
    floor was: on a shared machine the fastest of many such moments is the luckiest. The floor is
    taken anew with what decides.
    """
    trial, first = trials.trial, trials.baseline
    contenders = [
        Contender(
            name=c.id,
            runtime=c.runtime,
            path=model_file(trial.out, c),
            precision="f32" if c.recipe["precision"] == "f32" else "default",
        )
        for c in (first, *finalists)
    ]
    found = measure_latency(
        contenders, trial.feed, threads=trial.threads, seconds=seconds, batch=trial.batch
    )
    confirmed = []
    for candidate in (first, *finalists):
        latency, ratio = found.latencies[candidate.id], found.ratios[candidate.id]
        own = ratio.value if candidate.runtime == first.runtime else candidate.same_runtime_speedup
        timed = dataclasses.replace(
            candidate,
            latency_ms=dict(latency.milliseconds()),
            latency_quantiles=latency.quantiles(),
            throughput=latency.throughput,
            speedup=ratio.value,
            speedup_interval=(ratio.low, ratio.high),
            same_runtime_speedup=own,
            noise_floor=found.noise_floor,
        )
        _keep_samples(trials, timed, latency)
        confirmed.append(trials.keep(timed))
    return confirmed[1:]


def _keep_samples(trials: Trials, candidate: Candidate, latency: Latency) -> None:
    folder = trials.trial.out / (candidate.path or "")
    with np.load(folder / MEASUREMENT, allow_pickle=False) as before:
        rows = before["rows"]
    with store.told_apart(folder):
        np.savez(folder / MEASUREMENT, seconds=latency.seconds, rows=rows)


def model_file(out: Path, candidate: Candidate) -> Path:
    """The file of a candidate that a runtime opens."""
    name = next(n for n in candidate.files if n.endswith((".onnx", ".xml")))
    return out / (candidate.path or "") / name
