"""Building, timing and scoring one candidate after another against the float baselines."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import store
from gossamer.errors import (
    BuildError,
    CalibrationError,
    DataError,
    GossamerError,
    MeasureError,
    PlanError,
    StorageError,
    TargetError,
)
from gossamer.measure.isolate import Isolated
from gossamer.measure.measure import interleave, noise_floor, ratio
from gossamer.measure.score import References, drop, paired_interval, score, score_baseline
from gossamer.result import Candidate
from gossamer.run import NO_DATA, run
from gossamer.search.candidates import MEASUREMENT, failed, measured, restored
from gossamer.step import Calibration
from gossamer.task import Split, affordable

if TYPE_CHECKING:
    from gossamer.artifact import Artifact
    from gossamer.measurement import Latency, ScoreRows
    from gossamer.progress import Progress
    from gossamer.runtime import Feed
    from gossamer.search.goal import MaxDrop
    from gossamer.search.ladder import Rung
    from gossamer.search.modules import Modules
    from gossamer.search.quantity import Constraint
    from gossamer.search.shared import Shared
    from gossamer.source import FloatModel
    from gossamer.task import Task

REFUSALS = (BuildError, CalibrationError, MeasureError, PlanError, TargetError)
SECONDS_PER_SESSION = 0.6
SCORING_SHARE = 0.04  # of the time budget that scoring one candidate may take
ROOM = 0.5
FEWEST_ROWS, MOST_ROWS = 256, 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What every candidate of one run has in common.

    Attributes:
        modules: The models that recipes start from.
        task: What scores.
        search: The split that scores.
        feed: What is timed.
        batch: Samples in the feed.
        threads: Threads of every session.
        seconds: Time budget of the whole run.
        max_drop: The accuracy budget.
        constraints: What else must hold of a candidate that is within the budget.
        out: The output folder.
        study: Where finished candidates are kept.
        progress: Who is told.
    """

    modules: Modules
    task: Task
    search: Split
    feed: Feed
    batch: int
    threads: int
    seconds: float
    max_drop: MaxDrop
    constraints: tuple[Constraint, ...]
    out: Path
    study: store.Study | Shared
    progress: Progress


@dataclass(kw_only=True, eq=False)
class _Float:
    """A float baseline that stays open, so that every candidate is timed against it."""

    session: Isolated
    latency: Latency
    scored: ScoreRows
    candidate: Candidate


class Trials:
    """Candidates of one run; a context manager that keeps the float baselines open."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.floats: dict[str, _Float] = {}
        self.candidates: dict[str, Candidate] = {}
        self.split = trial.search
        self.floor = 0.0
        self.damages: dict[str, tuple[tuple[str, float], ...]] = {}  # of sites, by target
        self._seconds: dict[str, float] = {}
        self._whole: ScoreRows | None = None  # of the best float model, on all search rows
        self._scope = contextlib.ExitStack()

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *error: object) -> None:
        self._scope.close()

    @property
    def baseline(self) -> Candidate:
        """The fastest float32 artifact."""
        fastest = min(self.floats.values(), key=lambda f: f.latency.median)
        return self.candidates[fastest.candidate.id]

    def measure_baselines(self, rungs: list[Rung]) -> None:
        """Build, time and score the float32 model on every target.

        Raises:
            BuildError: No runtime runs the float model; the message carries every reason.
        """
        trial = self.trial
        trial.progress.stage("float baselines", len(rungs))
        opened = self._opened_floats(rungs)
        latencies = self._timed({name: session for name, (_, _, session) in opened.items()})
        first = min(opened, key=lambda name: latencies[name].median)
        self._measure_floor(opened[first][1], opened[first][0], opened[first][2])
        self.split = self._affordable(latencies[first].median)
        for name, (rung, artifact, session) in opened.items():
            references = References(trial.out / "cache" / "references" / "search")
            started = time.monotonic()
            scored = score_baseline(session, trial.task, self.split, references)
            self._spent(name, self._seconds[name] + time.monotonic() - started)
            if not np.isfinite(scored.value):
                raise MeasureError(
                    f"a finite {trial.task.metric_name} of the float model", str(scored.value)
                )
            found = measured(rung, artifact, latencies[name], scored, trial.out)
            self.floats[name] = _Float(
                session=session, latency=latencies[name], scored=scored, candidate=found
            )
            trial.progress.advance()
        best = self.floats[first]
        for entry in self.floats.values():
            compared = ratio(best.latency, entry.latency, noise_floor=self.floor)
            entry.candidate = self._judged(
                entry.candidate,
                best.scored.value,
                (compared.value, compared.low, compared.high),
                1.0,
            )
            self.keep(entry.candidate)

    def _opened_floats(self, rungs: list[Rung]) -> dict[str, tuple[Rung, Artifact, Isolated]]:
        opened: dict[str, tuple[Rung, Artifact, Isolated]] = {}
        refused: list[str] = []
        for rung in rungs:
            started = time.monotonic()
            try:
                source, no_data = self.trial.modules.opened(rung.recipe, NO_DATA)
                artifact, session = self._opened(rung, source, no_data)
            except REFUSALS as error:
                refused.append(f"{rung.recipe.target}: {error}")
                self.keep(failed(rung, str(error)))
                continue
            opened[rung.recipe.target] = (rung, artifact, session)
            timing = SECONDS_PER_SESSION * (1 + len(rungs))  # of a candidate against the floats
            self._spent(rung.recipe.target, time.monotonic() - started + timing)
        if not opened:
            raise BuildError("a runtime that runs the float model", "; ".join(refused))
        return opened

    def is_known(self, rung: Rung) -> bool:
        """Whether an earlier, killed run finished this candidate."""
        return self.trial.study.get(rung.recipe.digest()) is not None

    def expected_seconds(self, rung: Rung) -> float:
        """How long this candidate will take, from those before it on the same target."""
        longest = max(self._seconds.values(), default=0.0)
        own = self._seconds.get(rung.recipe.target, longest)
        return own + self.trial.modules.expected_seconds(rung.recipe)

    def _spent(self, target: str, seconds: float) -> None:
        self._seconds[target] = seconds

    def evaluate(
        self, rung: Rung, calibration: Calibration, *, is_again: bool = False
    ) -> Candidate:
        """One candidate, finished: measured, or failed with the reason.

        A candidate that the study knows is given back as it was, unless it is to be measured again.
        """
        identity = rung.recipe.digest()
        known = self.trial.study.get(identity)
        if known is not None and not is_again:
            found = restored(known, self.trial.out)
            self.candidates[identity] = found
            self.trial.progress.candidate(found)
            return found
        scope = contextlib.ExitStack()
        with scope:
            try:
                model, data = self.trial.modules.opened(rung.recipe, calibration)
                if rung.is_static:
                    with contextlib.suppress(*REFUSALS):  # the attempt below tells
                        data.statistics(())
                started = time.monotonic()  # training and calibration are nobody's own time
                artifact, session = self._opened(rung, model, data, scope)
                found = self._compared(rung, artifact, session)
                self._spent(rung.recipe.target, time.monotonic() - started)
            except (StorageError, DataError):
                raise
            except Exception as error:  # whatever one candidate brings down, the others go on
                told = isinstance(error, GossamerError)
                found = failed(rung, str(error) if told else f"{type(error).__name__}: {error}")
                store.remove(self.trial.out / "candidates" / identity)
        return self.keep(found)

    def has_room(self, candidate: Candidate) -> bool:
        """Whether a candidate loses no more than half of what the budget allows."""
        allowed = self.trial.max_drop.allowed(self.baseline.score or 0.0)
        return (candidate.drop or 0.0) <= ROOM * allowed

    def missed(self, candidate: Candidate) -> tuple[float, ...]:
        """By how much a candidate misses the accuracy budget, then each constraint.

        As a share of what is allowed; 0 or less where it holds.
        """
        if candidate.status != "ok":
            return ()
        allowed = self.trial.max_drop.allowed(self.baseline.score or 0.0)
        beyond = (candidate.drop or 0.0) - allowed
        return (beyond / (allowed or 1.0), *(c.excess(candidate) for c in self.trial.constraints))

    def adopt(self, documents: Mapping[str, dict[str, Any]]) -> None:
        """Know what other processes finished."""
        for identity, document in documents.items():
            self.candidates.setdefault(identity, restored(document, self.trial.out))

    def skip(self, rung: Rung, reason: str) -> Candidate:
        """A candidate that is not tried, with the reason."""
        found = dataclasses.replace(failed(rung, reason), status="skipped")
        self.candidates.setdefault(found.id, found)
        self.trial.progress.candidate(found)
        return found

    def fail(self, candidate: Candidate, reason: str) -> Candidate:
        """A candidate that was measured, but does not run any more, with the reason."""
        if candidate.path is not None:
            store.remove(self.trial.out / candidate.path)
        return self.keep(
            dataclasses.replace(
                candidate, status="failed", reason=reason, path=None, within_budget=False
            )
        )

    def forget_files(self, keep: set[str]) -> None:
        """Delete the model files of all candidates but those named; what was measured stays."""
        for identity, candidate in self.candidates.items():
            if candidate.path is not None and identity not in keep:
                self.keep(dataclasses.replace(candidate, path=None))
                for file in (self.trial.out / candidate.path).iterdir():
                    if file.name != MEASUREMENT:
                        store.remove(file)

    def _opened(
        self,
        rung: Rung,
        model: FloatModel,
        calibration: Calibration,
        scope: contextlib.ExitStack | None = None,
    ) -> tuple[Artifact, Isolated]:
        recipe = rung.recipe
        folder = self.trial.out / "candidates" / recipe.digest()
        artifact = run(model, recipe, folder, calibration, self.trial.progress)
        session = Isolated(
            artifact.runtime,
            artifact.path,
            threads=self.trial.threads,
            precision=recipe.precision,
        )
        return artifact, (scope or self._scope).enter_context(session)

    def _timed(self, sessions: dict[str, Isolated]) -> dict[str, Latency]:
        return interleave(
            sessions,
            dict.fromkeys(sessions, self.trial.feed),
            seconds=SECONDS_PER_SESSION,
            batch=self.trial.batch,
        )

    def _measure_floor(self, artifact: Artifact, rung: Rung, session: Isolated) -> None:
        """The noise floor: the fastest float model against itself in a second process."""
        with Isolated(
            artifact.runtime,
            artifact.path,
            threads=self.trial.threads,
            precision=rung.recipe.precision,
        ) as twin:
            both = self._timed({"first": session, "twin": twin})
        self.floor = noise_floor(both["first"], both["twin"])

    def _affordable(self, median: float) -> Split:
        """As many rows of the search split as the time budget allows to score every time."""
        per_row = median / self.trial.batch
        rows = int(SCORING_SHARE * self.trial.seconds / max(per_row, 1e-6))
        return affordable(self.trial.search, max(FEWEST_ROWS, min(MOST_ROWS, rows)))

    def _compared(self, rung: Rung, artifact: Artifact, session: Isolated) -> Candidate:
        trial = self.trial
        same = self.floats.get(rung.recipe.target)
        best = min(self.floats.values(), key=lambda f: f.latency.median)
        sessions = {"candidate": session, "best": best.session}
        if same is not None and same is not best:
            sessions["same"] = same.session
        latencies = self._timed(sessions)
        overall = ratio(latencies["best"], latencies["candidate"], noise_floor=self.floor)
        own = latencies.get("same", latencies["best"] if same is best else None)
        same_runtime = ratio(own, latencies["candidate"]).value if own is not None else None
        base, scored, interval = self._scored(session, best)
        found = measured(rung, artifact, latencies["candidate"], scored, trial.out)
        changed = (scored.rows != base.rows).any(axis=1).mean()
        found = dataclasses.replace(found, changed=float(changed), drop_interval=interval)
        return self._judged(
            found, base.value, (overall.value, overall.low, overall.high), same_runtime
        )

    def _scored(
        self, session: Isolated, best: _Float
    ) -> tuple[ScoreRows, ScoreRows, tuple[float, float] | None]:
        """Rows of the float model and of a candidate, and the paired interval of the drop.

        Where the interval leaves open whether the budget is kept, and the search split has more
        rows than are scored every time, all of them are.

        Raises:
            MeasureError: The candidate's score is no number.
        """
        trial, base = self.trial, best.scored
        references = References(trial.out / "cache" / "references" / "search")
        scored = score(session, trial.task, self.split, references)
        if not np.isfinite(scored.value):
            raise MeasureError(f"a finite {trial.task.metric_name}", str(scored.value))
        interval = _interval(trial, base, scored)
        allowed = trial.max_drop.allowed(base.value)
        is_open = interval is not None and interval[0] <= allowed < interval[1]
        if is_open and len(self.split) < len(trial.search):
            if self._whole is None:
                self._whole = score_baseline(best.session, trial.task, trial.search, references)
            base = self._whole
            scored = score(session, trial.task, trial.search, references)
            interval = _interval(trial, base, scored)
        return base, scored, interval

    def _judged(
        self,
        candidate: Candidate,
        float_score: float,
        speedup: tuple[float, float, float],
        same_runtime: float | None,
    ) -> Candidate:
        lost = drop(self.trial.task, float_score, candidate.score or 0.0)
        candidate = dataclasses.replace(candidate, drop=lost)
        is_within = self.trial.max_drop.holds(lost, float_score)
        missed = [c.text for c in self.trial.constraints if c.excess(candidate) > 0]
        return dataclasses.replace(
            candidate,
            relative_drop=lost / abs(float_score) if float_score else None,
            within_budget=is_within and not missed,
            reason=f"misses {' and '.join(missed)}" if missed else candidate.reason,
            speedup=speedup[0],
            speedup_interval=(speedup[1], speedup[2]),
            same_runtime_speedup=same_runtime,
            noise_floor=self.floor,
        )

    def keep(self, candidate: Candidate) -> Candidate:
        """Remember a finished candidate, in the study too, and tell the progress."""
        self.candidates[candidate.id] = candidate
        self.trial.study.put(candidate.id, dataclasses.asdict(candidate))
        self.trial.progress.candidate(candidate)
        return candidate


def _interval(trial: Trial, base: ScoreRows, scored: ScoreRows) -> tuple[float, float] | None:
    """Of the drop, paired; None where no draw of the rows has a score."""
    try:
        return paired_interval(trial.task, base.rows, scored.rows)
    except MeasureError:
        return None
