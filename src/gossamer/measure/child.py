"""The process in which a model runs: `python -m gossamer.measure.child`, see `isolate`.

It answers one frame on stdin with one frame on stdout, until stdin ends.
"""

from __future__ import annotations

import gc
import os
import select
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import plugins
from gossamer.errors import GossamerError, MeasureError
from gossamer.frames import Channel
from gossamer.measure import modules, serving
from gossamer.memory import peak_rss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Session

NAP, MOST_NAPS = 0.005, 100


def main() -> None:
    """Serve until the parent closes its end, or is gone."""
    requests, replies = _own_pipes()
    threading.Thread(target=_end_with_parent, args=(requests,), daemon=True).start()
    channel = Channel(requests, replies)
    model = Model()
    while True:
        try:
            request, arrays = channel.receive(None)
        except EOFError:
            return
        try:
            reply, outputs = model.answer(request, arrays)
        except Exception as error:  # whatever it is, the parent raises it
            reply, outputs = {"error": _described(error)}, {}
        channel.send(reply, outputs, None)


class Model:
    """The sessions of this process, mostly one, and what it answers to requests."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._parallel: tuple[Session, ...] = ()
        self._feed: Feed = {}

    def answer(self, request: dict[str, Any], arrays: Feed) -> tuple[dict[str, Any], Feed]:
        """Header and arrays of the reply to one request."""
        match request["op"]:
            case "build" | "operators":
                return _without_session(request, arrays), {}
            case "open":
                return self._open(request), {}
            case "run":
                return {}, self._opened(request).run(arrays)
            case "time":
                taken = timed(self._opened(request), arrays, request["calls"], request["seconds"])
                come_to_rest()
                return {}, {"seconds": taken}
            case "warm" | "load":
                return self._under_load(request, arrays)
            case _:
                return {"bytes": peak_rss()}, {}

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        _pin(request["cpus"])
        runtime = modules.runtime(request["runtime"])
        # two large models need not lie in memory beside each other
        self._parallel = ()
        if self._sessions.pop(request.get("name", ""), None) is not None:
            gc.unfreeze()  # what loading the one before made is garbage now
            gc.collect()
        before = time.perf_counter()
        path, options = Path(request["path"]), {k: request[k] for k in ("threads", "precision")}
        if request.get("is_parallel"):
            self._parallel = runtime.open_parallel(path, **options)
        else:
            self._parallel = (runtime.open(path, **options),)
        session = self._parallel[0]
        seconds = time.perf_counter() - before
        self._sessions[request.get("name", "")] = session
        gc.freeze()  # what loading made stays; collections need not look at it again
        return {
            "load_seconds": seconds,
            "inputs": [[t.name, t.dtype, t.shape] for t in session.inputs],
            "outputs": [[t.name, t.dtype, t.shape] for t in session.outputs],
        }

    def _under_load(self, request: dict[str, Any], arrays: Feed) -> tuple[dict[str, Any], Feed]:
        if request["op"] == "warm":
            self._feed = arrays
            return {"seconds": serving.warm(self._parallel, arrays, request["calls"])}, {}
        served = serving.serve(
            self._parallel,
            self._feed,
            start=request["start"],
            seconds=request["window"],
            arrivals=request["arrivals"],
        )
        come_to_rest()
        samples: Feed = {"latencies": served.latencies, "services": served.services}
        return {"elapsed": served.elapsed, "unanswered": served.unanswered}, samples

    def _opened(self, request: dict[str, Any]) -> Session:
        session = self._sessions.get(request.get("name", ""))
        if session is None:
            raise MeasureError("an opened model", "a request before it", "Open it first.")
        return session


def _built(request: dict[str, Any]) -> dict[str, Any]:
    folder = Path(request["folder"])
    files = plugins.load("runtimes", request["runtime"])().build(Path(request["path"]), folder)
    return {"files": [str(file.relative_to(folder)) for file in files]}


def _without_session(request: dict[str, Any], arrays: Feed) -> dict[str, Any]:
    return _built(request) if request["op"] == "build" else _operators(request, arrays)


def _operators(request: dict[str, Any], feed: Feed) -> dict[str, Any]:
    _pin(request["cpus"])
    found = modules.runtime(request["runtime"]).operator_times(
        Path(request["path"]), feed, threads=request["threads"], calls=request["calls"]
    )
    return {"operators": [[t.name, t.operator, t.seconds, t.kernel] for t in found]}


def _pin(cpus: list[int]) -> None:
    """Keep this process, and every thread that it starts from now on, to some CPUs."""
    if hasattr(os, "sched_setaffinity") and cpus:
        os.sched_setaffinity(0, cpus)


def timed(session: Session, feed: Feed, calls: int, seconds: float) -> NDArray[np.float64]:
    """Seconds of each call: at least `calls` calls and `seconds` seconds of them.

    One untimed call comes first: other sessions had the caches since the last one.
    """
    run, clock = session.run, time.perf_counter_ns
    run(feed)
    taken: list[int] = []
    gc.disable()
    try:
        end = clock() + int(seconds * 1e9)
        while len(taken) < calls or clock() < end:
            start = clock()
            run(feed)
            taken.append(clock() - start)
    finally:
        gc.enable()
    return np.asarray(taken, np.float64) / 1e9


def come_to_rest() -> None:
    """Wait until no thread of this process is busy any more, so that the next one has the machine.

    Threads of ONNX Runtime spin for 45 ms after a run. On two CPUs that took one of them from
    whatever was timed next: OpenVINO's int8 MiniLM seemed 1.5 times as slow (2026-11-22).
    """
    for _ in range(MOST_NAPS):
        before = time.process_time()
        time.sleep(NAP)
        if time.process_time() - before < NAP / 5:
            return


def _own_pipes() -> tuple[int, int]:
    """Move stdin and stdout away, so that whatever a library prints cannot fall into a frame."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return requests, replies


def _end_with_parent(requests: int) -> None:
    """End this process, in the middle of a run too, once nobody can send requests any more.

    PR_SET_PDEATHSIG would not do: it fires when the *thread* that started this process ends.
    """
    poll = select.poll()
    poll.register(requests, 0)  # nothing but the hang-up
    poll.poll()
    os._exit(1)


def _described(error: Exception) -> dict[str, str]:
    if isinstance(error, GossamerError):
        kind, needed, received, hint = (
            type(error).__name__,
            error.needed,
            error.received,
            error.hint,
        )
    else:
        kind, needed = MeasureError.__name__, "a model that runs"
        received, hint = f"{type(error).__name__}: {error}", ""
    return {"kind": kind, "needed": needed, "received": received, "hint": hint}


if __name__ == "__main__":
    main()
