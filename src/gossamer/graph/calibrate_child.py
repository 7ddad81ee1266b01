"""The process that calibrates: `python -m gossamer.graph.calibrate_child`, see `calibrate`.

It runs one model, tapped or plain, and keeps nothing but statistics; of a plain one it also gives
out values that are asked for. It answers one frame on stdin with one frame on stdout. A tapped run
is answered before it ends: while it goes on, the next sample comes in, and what the run before gave
out is looked at.

Where memory allows it, each of two lanes gets half of the threads and runs samples of its own. One
run on two threads waits, at each of its nodes, for the one whose core Python has taken
(mobilenetv2: 2.6 times the plain time, against 1.4 to 1.8; 2026-11).
"""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.frames import serve
from gossamer.graph.looks import Run, readers
from gossamer.graph.observed import QUIET, Observed, ObservedChannels, refused
from gossamer.memory import peak_rss

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from gossamer.runtime import Feed

LOUD = 5e-4  # share of all elements at either end that is told one by one
BUFFER = 1 << 20  # elements of all values that wait to be counted, 4 MiB
CAUTION = 4  # runs before which a single loud sample could set the thresholds too high
SHIFT = 31  # elements by which samples begin later in every run


def main() -> None:
    """Serve until stdin ends."""
    serve(Model().answer)


class Model:
    """The session of this process and what it has observed."""

    def __init__(self) -> None:
        import onnxruntime  # here, while the model is still being written

        self._ort = onnxruntime
        self._running: deque[Future[Run]] = deque()
        self._seconds: list[float] = []  # of each run

    def answer(
        self, request: dict[str, Any], arrays: Feed
    ) -> tuple[dict[str, Any], Mapping[str, NDArray[np.generic]]]:
        """Header and arrays of the reply to one request."""
        match request["op"]:
            case "open":
                return self._open(request), {}
            case "run":
                self._run(arrays)
                return {}, {}
            case "values":
                names = request["names"]
                return {}, dict(zip(names, self._session.run(names, arrays), strict=True))
            case _:
                return self._finish()

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        self._is_tapped = "taps" in request
        self._lanes = request.get("lanes", 1)
        self._workers = ThreadPoolExecutor(self._lanes)
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = request["threads"] // self._lanes
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what matters comes as an exception
        if not request.get("fuses", True):
            level = self._ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        # a plan of all of a run's memory, made ahead, holds more than what is needed at one time
        options.enable_mem_pattern = not self._is_tapped
        self._session = self._ort.InferenceSession(
            request["path"], options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {i.name for i in self._session.get_inputs()}
        if self._is_tapped:
            self._names = request["inputs"]
            self._watch(request["taps"], request["seed"])
        return {}

    def _watch(self, taps: dict[str, Any], seed: int) -> None:
        self._start = seed
        self._checks: dict[str, int] = taps["checks"]
        self._channels = [ObservedChannels(**tap) for tap in taps["channels"]]
        values = taps["values"]
        parts = "value", "images", "step", "tells_minimum"
        self._observed = [Observed(**{part: tap[part] for part in parts}) for tap in values]
        self._readers = readers(values)
        self._inner = [i for i, tap in enumerate(values) if "loud" in tap["outputs"]]
        self._thresholds = np.array([QUIET] * len(values), np.float32).reshape(-1, 2).T
        self._waiting_thresholds = self._thresholds  # those of the runs that wait to be counted
        self._looked = 0
        self._turns = 2 * BUFFER  # in which all values are counted
        self._due = 1  # run after which thresholds change

    def _run(self, feed: Feed) -> None:
        if not self._is_tapped:
            self._session.run(None, feed)
            return
        if not self._looked:  # only now can thresholds be chosen; this sample runs again
            self._look(self._started(feed))
            for observed in self._observed:
                observed.forget()
            for channels in self._channels:
                channels.forget()
            self._seconds.clear()
        self._running.append(self._started(feed))
        # one after the other while many elements are loud, or several runs would hold them
        if len(self._running) > self._lanes or self._looked <= CAUTION:
            self._look(self._running.popleft())

    def _started(self, feed: Feed) -> Future[Run]:
        self._start += SHIFT
        return self._workers.submit(self._run_tapped, feed, self._start, self._thresholds)

    def _run_tapped(self, feed: Feed, start: int, thresholds: NDArray[np.float32]) -> Run:
        below, above = thresholds[:, self._inner]
        added = dict(zip(self._names, (np.array([start]), above, below), strict=True))
        feed = feed | {name: x for name, x in added.items() if name in self._inputs}
        begin = time.perf_counter()
        results = self._session.run(None, feed)
        return Run(results, start, thresholds, time.perf_counter() - begin)

    def _look(self, running: Future[Run]) -> None:
        """Take in what one run gave out, while the next one goes on."""
        run = running.result()
        self._seconds.append(run.seconds)
        for name, position in self._checks.items():
            if math.isnan(run.results[position].item()):
                raise refused(name, "NaN", max(self._looked - 1, 0))
        for channels in self._channels:
            channels.take(run.results)
        if run.thresholds is not self._waiting_thresholds:
            self._count()
            self._waiting_thresholds = run.thresholds
        elements = 0
        for reader in self._readers:
            for i, look in reader.looks(run):
                elements += self._observed[i].take(look)
        self._turns = min(self._turns, 2 * BUFFER // (elements + 1) + 1)
        self._looked += 1
        if self._looked == self._due:  # often at first, when there is much to learn
            self._count()
            share = LOUD * max(1.0, CAUTION / self._looked)
            found = [observed.thresholds(share) for observed in self._observed]
            self._thresholds = np.array(found, np.float32).reshape(-1, 2).T
            self._due *= 4
        else:  # some of all values, so that no run waits for long
            self._count(self._looked % self._turns, self._turns)

    def _count(self, first: int = 0, step: int = 1) -> None:
        """Count what waits of every step-th value."""
        thresholds = self._waiting_thresholds.T[first::step].tolist()
        for observed, (below, above) in zip(self._observed[first::step], thresholds, strict=True):
            observed.count(below, above)

    def _finish(self) -> tuple[dict[str, Any], Mapping[str, NDArray[np.generic]]]:
        arrays: dict[str, NDArray[np.generic]] = {}
        if self._is_tapped:
            while self._running:
                self._look(self._running.popleft())
            self._count()
            for channels in self._channels:
                arrays |= channels.arrays()
            for i, observed in enumerate(self._observed):
                arrays |= observed.arrays(str(i))
        arrays["seconds"] = np.array(self._seconds)
        return {"peak_rss_bytes": peak_rss()}, arrays


if __name__ == "__main__":
    main()
