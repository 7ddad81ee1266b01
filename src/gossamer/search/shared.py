"""A study that several processes and machines may work on, in a database of Optuna."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gossamer.errors import StorageError
from gossamer.plugins import require
from gossamer.search.space import Choice

if TYPE_CHECKING:
    from gossamer.result import Candidate
    from gossamer.search.space import Open, Space

MISSED, OWNER, BEAT, QUEUED, FOUND = "missed", "owner", "alive at", "queued", "candidate"
SHOWN = ("label", "drop", "speedup", "latency_ms", "size_bytes", "within_budget", "reason")
BEAT_SECONDS = 20.0
SILENT_SECONDS = 120.0  # after which the process of a trial counts as dead
WAIT = 60.0  # seconds for a database that another process is writing


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where the trials of a search are.

    Attributes:
        url: Of the database, as SQLAlchemy writes it: `sqlite:///…` or `postgresql://…`.
        name: Of the study; the same search has the same name everywhere.
        objectives: Of what is to be small or large, as written.
        seed: Of what samplers draw.
    """

    url: str
    name: str
    objectives: tuple[str, ...]
    seed: int


class Shared:
    """Trials with their recipes and results, each in the database the moment it is known.

    It keeps whole candidates like `store.Study`, and lets `optuna-dashboard` show the trials. The
    trial of a process that died is tried again by the next one that looks (`reclaim`).

    Args:
        place: Of the trials.
        owner: Name of who looks, for those who can tell that it is gone (`release`).

    Raises:
        MissingDependency: Optuna is not installed.
        StorageError: The database cannot be opened.
    """

    def __init__(self, place: Place, owner: str = "") -> None:
        self._optuna = require("optuna", "search", "searches over open places of a recipe")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        self.place, self._owner = place, owner
        url, objectives = place.url, place.objectives
        self._states = self._optuna.trial.TrialState
        wait = {"connect_args": {"timeout": WAIT}} if url.startswith("sqlite") else {}
        with self._told():
            storage = self._optuna.storages.RDBStorage(url, engine_kwargs=wait)
            self._study = self._optuna.create_study(
                storage=storage,
                study_name=place.name,
                directions=["minimize"] * len(objectives),  # what is to be large is told negative
                load_if_exists=True,
            )
            if len(self._study.directions) == len(objectives):  # else whoever asks will refuse it
                self._study.set_metric_names(list(objectives))

    def put(self, identity: str, document: dict[str, Any]) -> None:
        """Keep one finished candidate; the same identity again replaces it."""
        with self._told():
            self._study.set_user_attr(identity, _plain(document))

    def get(self, identity: str) -> dict[str, Any] | None:
        """What was kept, None if there is nothing."""
        with self._told():
            found: dict[str, Any] | None = self._study.user_attrs.get(identity)
        return found

    def documents(self) -> dict[str, dict[str, Any]]:
        """Every candidate that any process finished, by its identity."""
        with self._told():
            kept = self._study.user_attrs
        return {key: value for key, value in kept.items() if "recipe" in value}

    def reclaim(self) -> None:
        """Give the trials of processes that are no more to whoever asks next."""
        self._take_back(lambda trial: not _is_alive(trial))

    def release(self, owner: str) -> None:
        """Give the trials of an owner that is gone to whoever asks next."""
        self._take_back(lambda trial: trial.user_attrs.get(OWNER, [""])[-1] == owner)

    def _take_back(self, is_lost: Callable[[Any], bool]) -> None:
        with self._told():
            for trial in self._trials(self._states.RUNNING):
                if is_lost(trial):
                    self._study.tell(trial.number, state=self._states.FAIL, skip_if_finished=True)
                    if point := trial.user_attrs.get(QUEUED) or trial.params:
                        self._study.enqueue_trial(point, user_attrs={QUEUED: point})

    def queue(self, points: Sequence[dict[str, Any]]) -> None:
        """Have these points tried, each once."""
        with self._told():
            for point in points:
                self._study.enqueue_trial(point, user_attrs={QUEUED: point}, skip_if_exists=True)

    def is_enough(self, most: int | None) -> bool:
        """Whether so many recipes were tried or are being tried."""
        if most is None:
            return False
        with self._told():
            trials = self._study.get_trials(deepcopy=False)
            running = [t for t in trials if t.state == self._states.RUNNING]
            tried = sum(FOUND in t.user_attrs for t in trials)
        return tried + sum(_is_alive(t) for t in running if FOUND not in t.user_attrs) >= most

    def count(self) -> int:
        """How many recipes were tried."""
        with self._told():
            return sum(FOUND in t.user_attrs for t in self._study.get_trials(deepcopy=False))

    def is_busy(self) -> bool:
        """Whether another process is at work on a trial."""
        with self._told():
            return any(_is_alive(t) for t in self._trials(self._states.RUNNING))

    def ask(self, sampler: Callable[[int], Any] | None) -> Any:
        """The next trial, which is this process's own now; None where there is no more.

        Args:
            sampler: Draws for a seed; None takes what waits in the queue and nothing else.
        """
        with self._told():
            while sampler is not None or self._trials(self._states.WAITING):
                drawn = len(self._study.get_trials(deepcopy=False))
                if sampler is not None:
                    self._study.sampler = sampler(self.place.seed * 1_000_003 + drawn)
                trial = self._study.ask()
                trial.set_user_attr(OWNER, [socket.gethostname(), os.getpid(), self._owner])
                is_mine = sampler is not None and trial.number == drawn
                if is_mine or trial.user_attrs.get(QUEUED):
                    return trial
                # another process asked at the same time: its draws had the same seed
                self._study.tell(trial, state=self._states.FAIL)
        return None

    def filled(self, trial: Any, space: Space) -> tuple[Any, str]:
        """Plain data in which the trial decided every open place, and what to call it."""
        told: list[str] = []

        def ask(name: str, place: Open) -> Any:
            value = _suggested(trial, name, place)
            if name != "target":  # tables have a column for it
                shown = f"{value:.6g}" if isinstance(value, float) else value
                told.append(f"{name.rsplit('.', 1)[-1]} {shown}")
            return value

        with self._told():
            data = space.pick(ask)
        return data, ", ".join(told) or "as written"

    @contextlib.contextmanager
    def beating(self, trial: Any) -> Iterator[None]:
        """Other processes are told that this trial goes on, until the end of the block."""
        done = threading.Event()

        def beat() -> None:
            while not done.is_set():
                with contextlib.suppress(Exception):  # the database may be busy: the next one
                    trial.set_user_attr(BEAT, time.time())
                done.wait(BEAT_SECONDS)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def tell(
        self,
        trial: Any,
        found: Candidate,
        costs: Sequence[float],
        missed: Sequence[float],
    ) -> bool:
        """What became of a trial; whether no other one had this recipe before.

        Args:
            trial: As `ask` gave it.
            found: The candidate.
            costs: One number for each objective, the smaller the better; none of one that failed.
            missed: By how much it misses each constraint; 0 or less where it holds.
        """
        with self._told():
            others = self._study.get_trials(deepcopy=False)
            is_new = all(t.user_attrs.get(FOUND) != found.id for t in others)
            for name in SHOWN:
                trial.set_user_attr(name, _plain(getattr(found, name)))
            trial.set_user_attr(MISSED, list(missed))
            if is_new:
                trial.set_user_attr(FOUND, found.id)
            if found.status == "ok":
                self._study.tell(trial, list(costs))
            else:
                self._study.tell(trial, state=self._states.FAIL)
        return is_new

    def give_back(self, trial: Any, reason: str) -> None:
        """Leave a trial for later: somebody else, or this search when it goes on."""
        with self._told():
            trial.set_user_attr("reason", reason)
            self._study.tell(trial, state=self._states.FAIL)
            self._study.enqueue_trial(trial.params, user_attrs={QUEUED: trial.params})

    def _trials(self, state: Any) -> list[Any]:
        found: list[Any] = self._study.get_trials(deepcopy=False, states=(state,))
        return found

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turns errors of the database into a StorageError; the URL may hold a password."""
        from sqlalchemy.exc import SQLAlchemyError  # Optuna's own way to databases

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of methods that Optuna calls experimental
                yield
        except (
            self._optuna.exceptions.StorageInternalError,
            ImportError,
            SQLAlchemyError,
        ) as error:
            raise StorageError(
                "a database that can be read and written",
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
                "Is it there, and its driver installed? Then go on with --resume.",
            ) from error


def _suggested(trial: Any, name: str, place: Open) -> Any:
    if isinstance(place, Choice):
        return trial.suggest_categorical(name, place.labels)
    suggest = trial.suggest_int if place.is_whole else trial.suggest_float
    step = {} if place.step is None else {"step": place.step}
    return suggest(name, place.low, place.high, log=place.log, **step)


def _is_alive(trial: Any) -> bool:
    """Whether the process of a running trial may still be at work."""
    host, pid, _ = trial.user_attrs.get(OWNER, ("", 0, ""))
    if host == socket.gethostname() and not _exists(pid):
        return False
    begun = trial.datetime_start.timestamp() if trial.datetime_start else time.time()
    return time.time() - float(trial.user_attrs.get(BEAT, begun)) < SILENT_SECONDS


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _plain(value: Any) -> Any:
    """As JSON gives it back: no tuples, no numbers of numpy."""
    return json.loads(json.dumps(value, default=float))
