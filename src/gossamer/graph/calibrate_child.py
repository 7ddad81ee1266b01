"""The process that calibrates: `python -m gossamer.graph.calibrate_child`, see `calibrate`.

It runs one model, tapped or plain, and keeps nothing but statistics. It answers one frame on stdin
with one frame on stdout. A tapped run is answered before it ends: while it goes on, the next sample
comes in, and what the run before gave out is looked at.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import CalibrationError
from gossamer.frames import Channel
from gossamer.graph._histogram import Histogram
from gossamer.memory import peak_rss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gossamer.runtime import Feed

LOUD = 2.5e-4  # share of all elements at either end that is told one by one
BUFFER = 1 << 21  # elements of all values that wait to be counted, 8 MiB
CAUTION = 16  # runs before which a single loud sample could set the thresholds too high
SHIFT = 31  # elements by which the sample of a whole value begins later in every run
MAX_START = 97  # samples begin at an element below this


def main() -> None:
    """Serve until stdin ends."""
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # whatever a library prints cannot fall into a frame
    channel, model = Channel(requests, replies), Model()
    with contextlib.suppress(EOFError):
        while True:
            header, arrays = channel.receive(None)
            try:
                reply, results = model.answer(header, arrays)
            except CalibrationError as error:
                reply, results = {"error": [error.needed, error.received, error.hint]}, {}
            except Exception as error:  # whatever it is, the parent raises it
                reply, results = {"error": ["a model that runs", str(error).strip(), ""]}, {}
            channel.send(reply, results, None)


class Model:
    """The session of this process and what it has observed."""

    def __init__(self) -> None:
        import onnxruntime  # here, while the model is still being written

        self._ort = onnxruntime
        self._worker = ThreadPoolExecutor(1)
        self._running: Future[list[NDArray[np.float32]]] | None = None
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
            case _:
                return self._finish()

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = request["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what matters comes as an exception
        self._session = self._ort.InferenceSession(
            request["path"], options, providers=["CPUExecutionProvider"]
        )
        self._random = np.random.default_rng(request["seed"])
        self._inputs = {i.name for i in self._session.get_inputs()}
        self._names = request["inputs"]
        self._observed = [Observed(**tap) for tap in request["taps"]]
        self._above = np.full(len(self._observed), np.inf, np.float32)
        self._below = -self._above
        self._runs = self._waiting = 0
        self._due = 1  # run after which thresholds change
        return {}

    def _run(self, feed: Feed) -> None:
        if not self._observed:
            self._timed(feed)
            return
        first = self._runs == 0
        self._runs += 1
        self._start(feed)
        if first:  # only now can thresholds be chosen; the first sample runs again with them
            self._count()
            self._choose_thresholds()
            for observed in self._observed:
                observed.forget()
            self._seconds.clear()
            self._start(feed)
        is_due = self._runs == self._due
        if is_due or self._waiting > BUFFER:
            self._count()
        if is_due:  # often at first, when there is much to learn
            self._choose_thresholds()
            self._due *= 2

    def _start(self, feed: Feed) -> None:
        """Start a run, and look at the one before."""
        start = self._random.integers(0, MAX_START, 1)
        # copies: thresholds may change before the run begins
        added = dict(zip(self._names, (start, self._above.copy(), self._below.copy()), strict=True))
        feed = feed | {name: x for name, x in added.items() if name in self._inputs}
        before, self._running = self._running, self._worker.submit(self._timed, feed)
        self._take(before)

    def _timed(self, feed: Feed) -> list[NDArray[np.float32]]:
        begin = time.perf_counter()
        results: list[NDArray[np.float32]] = self._session.run(None, feed)
        self._seconds.append(time.perf_counter() - begin)
        return results

    def _take(self, running: Future[list[NDArray[np.float32]]] | None) -> None:
        if running is not None:
            results = running.result()
            self._waiting += sum(o.take(results) for o in self._observed)

    def _count(self) -> None:
        """Count all that waits, once the last run has ended."""
        self._take(self._running)
        self._running, self._waiting = None, 0
        for observed in self._observed:
            observed.count()

    def _choose_thresholds(self) -> None:
        share = LOUD * max(1.0, CAUTION / self._runs)
        for i, observed in enumerate(self._observed):
            self._below[i], self._above[i] = observed.choose_thresholds(share)

    def _finish(self) -> tuple[dict[str, Any], Mapping[str, NDArray[np.generic]]]:
        self._count()
        edges: dict[int, tuple[float, float]] = {}
        arrays: dict[str, NDArray[np.generic]] = {"seconds": np.array(self._seconds)}
        for i, observed in enumerate(self._observed):
            arrays |= {f"{i}.{part}": x for part, x in observed.channels().items()}
            if observed.histogram is not None:
                edges[i] = observed.histogram.edges
                arrays[f"{i}.counts"] = observed.histogram.counts
                lows, highs = (
                    np.array(observed.lows, np.float32),
                    np.array(observed.highs, np.float32),
                )
                arrays[f"{i}.sample_low"] = lows[lows <= highs]  # others were empty
                arrays[f"{i}.sample_high"] = highs[lows <= highs]
        return {"peak_rss_bytes": peak_rss(), "edges": edges}, arrays


class Observed:
    """What is known of one tapped value.

    Args:
        name: Of the value, for messages.
        step: Elements that one element of the sample stands for; 0 where none comes.
        outputs: Positions of its parts among the results of a run.

    Attributes:
        histogram: None until an element was seen.
        lows: Minimum of each run.
        highs: Maximum of each run.
    """

    def __init__(self, name: str, step: int, outputs: dict[str, int]) -> None:
        self._name = name
        self._step = step
        self._outputs = outputs
        self.histogram: Histogram | None = None
        self._below, self._above = -math.inf, math.inf
        self.forget()

    def forget(self) -> None:
        """Begin again; only the range of the histogram stays."""
        self.lows: list[float] = []
        self.highs: list[float] = []
        self._sum: NDArray[np.float64] | None = None  # of the means of each channel
        self._extremes: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._samples: list[NDArray[np.float32]] = []
        self._loud: list[NDArray[np.float32]] = []
        self._counted = 0  # runs
        if self.histogram is not None:
            self.histogram.counts[:] = 0

    def take(self, results: Sequence[NDArray[np.float32]]) -> int:
        """Keep what one run said; returns how many elements now wait to be counted."""
        outputs = self._outputs
        if "sum" in outputs:
            self._counted += 1
            if math.isnan(results[outputs["sum"]].item()):
                raise self._refused("NaN", self._counted - 1)
            return 0
        if "mean" in outputs:
            self._take_channels(results)
            return 0
        if "whole" in outputs:
            return self._take_whole(results[outputs["whole"]].ravel())
        sample = results[outputs["sample"]]
        # a copy: results that live on would keep the runtime from reusing its memory
        self._samples.append(sample.copy())
        # an output of Relu or Clip(0, …) tells no minimum: it cannot be below 0
        low = results[outputs["lowest"]].min(initial=math.inf) if "lowest" in outputs else 0.0
        self.lows.append(float(low))
        self.highs.append(float(results[outputs["highest"]].max(initial=-math.inf)))
        rows = results[outputs["loud"]]
        if not rows.size:
            return sample.size
        loud = rows[rows >= self._above]
        if "lowest" in outputs:
            loud = np.concatenate([loud, rows[rows < self._below]])
        self._loud.append(loud)
        return sample.size + loud.size

    def _take_whole(self, x: NDArray[np.float32]) -> int:
        low, high = float(x.min(initial=math.inf)), float(x.max(initial=-math.inf))
        sample = x[SHIFT * len(self.lows) % self._step :: self._step].copy()
        self._samples.append(sample)
        self.lows.append(low)
        self.highs.append(high)
        if high < self._above and low >= self._below:
            return sample.size
        loud = x[(x >= self._above) | (x < self._below)]
        self._loud.append(loud)
        return sample.size + loud.size

    def _take_channels(self, results: Sequence[NDArray[np.float32]]) -> None:
        outputs = self._outputs
        mean = results[outputs["mean"]].astype(np.float64)
        if np.isnan(mean).any():  # of nothing; NaN in a value is told by others
            return
        self._counted += 1
        self._sum = mean if self._sum is None else self._sum + mean
        if "low" in outputs:
            low, high = results[outputs["low"]], results[outputs["high"]]
            lows, highs = self._extremes or (low, high)
            self._extremes = np.minimum(lows, low), np.maximum(highs, high)

    def channels(self) -> dict[str, NDArray[np.float32]]:
        """Mean over the runs of the mean of each channel, and its extremes where these come."""
        if self._sum is None:
            return {}
        found = {"mean": (self._sum / self._counted).astype(np.float32)}
        if self._extremes is not None:
            found["low"], found["high"] = self._extremes
        return found

    def count(self) -> None:
        """Count what waits: of the samples what is not loud, as that came one by one."""
        if not self._samples:
            return
        low, high = self._range()
        body = np.concatenate(self._samples)
        if low <= high and self.histogram is None:
            self.histogram = Histogram(low, high)
        if self.histogram is None or low > high:
            return
        self.histogram.cover(low, high)
        if body.size and math.isnan(body.min()):
            broken = [bool(np.isnan(x).any()) for x in self._samples]
            raise self._refused("NaN", self._counted + broken.index(True))
        if self._loud:
            self.histogram.add(np.concatenate(self._loud))
        self.histogram.add_between(body, self._step, self._below, self._above)
        self._samples.clear()
        self._loud.clear()
        self._counted = len(self.highs)

    def _range(self) -> tuple[float, float]:
        """Extremes of what waits, the low one larger where all of it is empty."""
        waiting = list(zip(self.lows, self.highs, strict=True))[self._counted :]
        for i, (low, high) in enumerate(waiting, self._counted):
            is_empty = low > high  # not so with NaN
            if not is_empty and not (math.isfinite(low) and math.isfinite(high)):
                raise self._refused(f"numbers from {low} to {high}", i)
        return min(low for low, _ in waiting), max(high for _, high in waiting)

    def choose_thresholds(self, share: float) -> tuple[float, float]:
        """What is loud from now on: below the first number, not below the second."""
        if self.histogram is not None and self._step > 1:
            below, self._above = self.histogram.quantiles(share)
            if "whole" in self._outputs or "lowest" in self._outputs:
                self._below = below
        return self._below, self._above

    def _refused(self, what: str, run: int) -> CalibrationError:
        return CalibrationError(
            f"finite numbers in {self._name!r}",
            f"{what} with calibration sample {run}",
            "Look at that sample, or leave the nodes around this value in float.",
        )


if __name__ == "__main__":
    main()
