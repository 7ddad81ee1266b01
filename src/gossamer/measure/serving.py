"""What a process under load does: answer requests by a clock, or one after the other."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Session

SPIN = 0.0002  # a sleep ends about so late; a request that came meanwhile must not wait for it


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """What one process did in one window.

    Attributes:
        latencies: Seconds from the arrival of each request to its answer; where requests do not
            arrive by a clock, from the start of the call. Of a request that was never answered, the
            time it had waited when the window was closed.
        services: Seconds of each call.
        elapsed: Calls per second of each session are its calls over its time until its last
            answer; this is the number of calls over the sum of these rates. 0 without a call.
        unanswered: How many arrived and got no answer.
    """

    latencies: NDArray[np.float64]
    services: NDArray[np.float64]
    elapsed: float
    unanswered: int = 0


@dataclass(kw_only=True)
class _Worker:
    """One thread's notes: when each of its requests arrived, was begun and was answered."""

    session: Session
    arrived: list[float] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    error: BaseException | None = None

    def call(self, feed: Feed, arrival: float | None) -> None:
        begun = time.monotonic()
        self.session.run(feed)
        self.answered.append(time.monotonic())
        self.begun.append(begun)
        self.arrived.append(begun if arrival is None else arrival)


class _Queue:
    """Arrivals in their order, for threads that each take the next one when it is due."""

    def __init__(self, arrivals: Sequence[float], deadline: float, spin: float) -> None:
        self._arrivals = list(arrivals)
        self._deadline = deadline
        self._spin = spin
        self._lock = threading.Lock()
        self.taken = 0

    def next(self) -> float | None:
        """The next arrival, not before its time; None when there is none, or time is up."""
        with self._lock:
            if self.taken == len(self._arrivals) or time.monotonic() >= self._deadline:
                return None
            due = self._arrivals[self.taken]
            wait_until(due, self._spin)
            self.taken += 1
            return due

    def left(self) -> list[float]:
        """Arrivals that nobody took."""
        return self._arrivals[self.taken :]


def warm(sessions: Sequence[Session], feed: Feed, calls: int) -> float:
    """The median seconds of the last of `calls` calls on each session."""
    taken: list[float] = []
    for session in sessions:
        for left in reversed(range(calls)):
            before = time.monotonic()
            session.run(feed)
            if not left:
                taken.append(time.monotonic() - before)
    return float(np.median(taken))


def serve(
    sessions: Sequence[Session],
    feed: Feed,
    *,
    start: float,
    seconds: float,
    arrivals: Sequence[float] | None,
) -> Served:
    """Requests answered from `start` on, each session by a thread of its own.

    Without arrivals every session answers one request after the other until the window ends
    (closed loop). With arrivals a request waits from its time on for the next free session,
    whatever the sessions are busy with (open loop): its latency counts from there, so that a slow
    answer shows in those behind it too. Requests that nobody has begun when a second window has
    passed stay unanswered.

    Args:
        sessions: What answers.
        feed: What every request asks.
        start: Time on the clock that all processes share (`time.monotonic`).
        seconds: Length of the window.
        arrivals: Seconds from `start`, ascending.

    Raises:
        MeasureError: A session refused the feed.
    """
    deadline = start + 2 * seconds
    queue = None
    if arrivals is not None:
        # two threads share the interpreter: one that spins would hold up the other
        queue = _Queue([start + a for a in arrivals], deadline, SPIN if len(sessions) == 1 else 0.0)
    workers = [_Worker(session=session) for session in sessions]

    def work(worker: _Worker) -> None:
        wait_until(start, SPIN if len(sessions) == 1 else 0.0)
        if queue is None:
            while time.monotonic() < start + seconds:
                worker.call(feed, None)
        else:
            while (due := queue.next()) is not None:
                worker.call(feed, due)

    gc.disable()
    try:
        _all_at_once(work, workers)
    finally:
        gc.enable()
    left = [] if queue is None else queue.left()
    return _summed(workers, start, [max(deadline, time.monotonic()) - due for due in left])


def wait_until(moment: float, spin: float) -> None:
    """Come back at a moment of `time.monotonic`; the last `spin` seconds are not slept."""
    while (left := moment - time.monotonic()) > 0:
        if left > spin:
            time.sleep(left - spin)


def _all_at_once(work: Callable[[_Worker], None], workers: Sequence[_Worker]) -> None:
    def noted(worker: _Worker) -> None:
        try:
            work(worker)
        except BaseException as error:  # raised again below, by the thread that waits
            worker.error = error

    if len(workers) == 1:
        noted(workers[0])
    else:
        threads = [threading.Thread(target=noted, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for worker in workers:
        if worker.error is not None:
            raise worker.error


def _summed(workers: Sequence[_Worker], start: float, waited: list[float]) -> Served:
    calls = sum(len(w.answered) for w in workers)
    rates = [len(w.answered) / (w.answered[-1] - start) for w in workers if w.answered]
    latencies = [b - a for w in workers for a, b in zip(w.arrived, w.answered, strict=True)]
    services = [b - a for w in workers for a, b in zip(w.begun, w.answered, strict=True)]
    return Served(
        latencies=np.asarray([*latencies, *waited], np.float64),
        services=np.asarray(services, np.float64),
        elapsed=calls / sum(rates) if rates else 0.0,
        unanswered=len(waited),
    )
