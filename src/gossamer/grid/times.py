"""How long the files of a sweep take: a few at a time, in turns with the float baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import BuildError, DataError, MeasureError
from gossamer.measure.measure import Comparison, Contender, measure_latency
from gossamer.task import example, has_sequence

if TYPE_CHECKING:
    from gossamer import store
    from gossamer.progress import Progress
    from gossamer.runtime import Feed
    from gossamer.source import TensorType

# beside the baseline and its twin: more would only wait in memory, and a kill costs what is under
# way; fewer time the baseline more often
TOGETHER = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Where files are timed.

    Attributes:
        threads: Of the runtime.
        batch: Samples per call.
        length: Tokens of each; None for models without a sequence.
    """

    threads: int
    batch: int
    length: int | None

    def key(self, file: str) -> str:
        """What a finished timing is called in the study."""
        return f"time {file} {self.threads} {self.batch} {self.length}"


@dataclass(kw_only=True, eq=False)
class Times:
    """Times files at points; what is in the study is not timed again.

    Attributes:
        inputs: Of the model.
        sample: One row, which feeds are made of.
        seconds: For each file at each point.
        study: Where finished timings are kept.
        progress: Is told of every timing.
    """

    inputs: Sequence[TensorType]
    sample: Feed
    seconds: float
    study: store.Study
    progress: Progress

    def measure(self, asked: Mapping[Point, Sequence[tuple[Mapping[str, Any], Path]]]) -> None:
        """Time what is asked for at each point, the float baseline as the first of each.

        Raises:
            MeasureError: The baseline does not run at a point.
        """
        waiting = {point: self._waiting(point, files) for point, files in asked.items()}
        self.progress.stage("time", sum(len(files) for files in waiting.values()))
        for point, files in waiting.items():
            baseline = _contender(*asked[point][0])
            for i in range(0, len(files), TOGETHER):
                self._together(point, baseline, [_contender(*f) for f in files[i : i + TOGETHER]])

    def _waiting(
        self, point: Point, files: Sequence[tuple[Mapping[str, Any], Path]]
    ) -> list[tuple[Mapping[str, Any], Path]]:
        return [f for f in files if self.study.get(point.key(str(f[0]["file"]))) is None]

    def _together(self, point: Point, baseline: Contender, files: list[Contender]) -> None:
        """Time some files; where one of them fails, each by itself."""
        others = [c for c in files if c.name != baseline.name]
        try:
            found = self._compared(point, [baseline, *others])
        except DataError as error:
            for contender in files:
                self._keep(point, contender.name, {"reason": str(error)})
            return
        except (BuildError, MeasureError) as error:
            if len(files) > 1:
                for contender in files:
                    self._together(point, baseline, [contender])
                return
            if not others:
                raise
            self._keep(point, files[0].name, {"reason": str(error)})
            return
        for contender in files:
            self._keep(point, contender.name, _measured(found, contender.name))

    def _compared(self, point: Point, contenders: Sequence[Contender]) -> Comparison:
        feed = example(self.inputs, self.sample, point.batch, point.length or 1)
        for tensor in self.inputs:
            held = tensor.shape[0] if tensor.shape else None
            if isinstance(held, int) and held != point.batch:
                raise DataError(
                    f"a model that takes {point.batch} samples at once",
                    f"one whose input {tensor.name} has {held}",
                    "Export it with an open batch axis.",
                )
        return measure_latency(
            contenders, feed, threads=point.threads, seconds=self.seconds, batch=point.batch
        )

    def _keep(self, point: Point, file: str, timing: dict[str, Any]) -> None:
        self.study.put(point.key(file), timing)
        self.progress.advance()


def points(
    threads: Sequence[int],
    batches: Sequence[int],
    lengths: Sequence[int],
    inputs: Sequence[TensorType],
) -> Iterator[Point]:
    """Every combination; a model without a sequence has no lengths."""
    for count in threads:
        for batch in batches:
            for length in lengths if has_sequence(inputs) else (None,):
                yield Point(threads=count, batch=batch, length=length)


def _contender(made: Mapping[str, Any], path: Path) -> Contender:
    return Contender(
        name=str(made["file"]), runtime=made["runtime"], path=path, precision=made["precision"]
    )


def _measured(found: Comparison, name: str) -> dict[str, Any]:
    latency, ratio = found.latencies[name], found.ratios[name]
    mean = float(np.mean(latency.seconds)) * 1000
    return {
        "latency_ms": {"mean": mean, **latency.milliseconds()},
        "throughput": latency.throughput,
        "speedup": ratio.value,
        "speedup_interval": (ratio.low, ratio.high),
        "noise_floor": found.noise_floor,
        "peak_rss_bytes": latency.peak_rss_bytes,
    }
