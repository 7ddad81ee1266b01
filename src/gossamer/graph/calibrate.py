"""One calibration pass: what is known of activations after every sample ran once.

The float model runs in a process of its own, with taps (`taps`) behind the asked values. Only
statistics come back, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from gossamer import store
from gossamer.errors import CalibrationError
from gossamer.graph import taps
from gossamer.graph.child import Child
from gossamer.graph.taps import Wanted
from gossamer.progress import Silent
from gossamer.statistics import CHANNELS, ChannelStatistics, Statistics, TensorStatistics

if TYPE_CHECKING:
    from gossamer.progress import Progress
    from gossamer.runtime import Feed

# so many samples, or every 8th, also run plainly afterwards: what calibration costs beside that
REFERENCES, REFERENCE_STEP = 16, 8
# memory: of a second run beside its activations, of a process that runs no model, and how much of
# what plain inference takes a second run may
EXTRA, PROCESS, SHARE = 8 << 20, 65 << 20, 0.35
BYTES = 4  # of a float32
PLAIN, TAPPED, WEIGHTS = "plain.onnx", "tapped.onnx", "weights.bin"


def collect(  # noqa: PLR0913 - four of them are options
    model: ir.Model | Path,
    wanted: Wanted,
    feeds: Callable[[], Iterator[Feed]],
    *,
    samples: int,
    threads: int,
    progress: Progress | None = None,
    seed: int = 0,
) -> Statistics:
    """Statistics of what is wanted over the first `samples` feeds.

    Extremes are exact, over all samples and of each. The histogram counts the outermost elements
    (0.05 % on either side, about) one by one, the rest by a strided sample.

    `seconds` is the wall time without making feeds and without the plain reference: some samples
    in the unchanged model, in a second child. Memory is that of the children.

    Args:
        model: A float model of opset 18 or newer that ONNX Runtime can run.
        wanted: What to observe; no fill values of attention masks (-3e38), these count.
        feeds: Makes the samples: batch 1, any lengths, no padding.
        samples: How many to use; all if there are fewer.
        threads: Threads of the runtime.
        progress: Is told of every sample.
        seed: Where the first strided sample begins.

    Raises:
        CalibrationError: No samples, a value does not exist, NaN in a sample, a value or an output
            (inputs and values: or Inf), or the model does not run.
        StorageError: No room for a temporary copy of the weights.
    """
    clock = _Clock()
    stream = clock.paused(itertools.islice(feeds(), samples))
    first = _checked(next(stream, None), 0)  # before anything is started
    watcher = progress or Silent()
    watcher.stage("calibrate", samples)
    with tempfile.TemporaryDirectory(prefix="gossamer-") as name:
        folder = Path(name)
        options = {"threads": threads, "seed": seed}
        step = max(REFERENCE_STEP, -(-samples // REFERENCES))
        with Child(folder / "tapped.log") as tapped:  # starts while the graph is written
            found = _write(model, wanted, first, samples, folder)
            lanes = _lanes(found, folder / WEIGHTS, threads)
            tapped.open(folder / TAPPED, options | {"lanes": lanes}, found)
            begin = clock.seconds()
            references = _run_tapped(tapped, itertools.chain((first,), stream), step, watcher)
            header, arrays = tapped.ask({"op": "finish"})
        runs: list[float] = arrays["seconds"].tolist()
        seconds = max(clock.seconds(), begin + sum(runs) / lanes)  # feeds may hide a part of it
        plain_seconds, plain_rss = _run_plainly(folder, options, references, runs)
    return Statistics(
        tensors=dict(_tensors(found, arrays)),
        channels=dict(_channels(found, arrays)),
        samples=len(runs),
        seconds=seconds,
        plain_seconds=plain_seconds,
        peak_rss_bytes=header["peak_rss_bytes"],
        plain_rss_bytes=plain_rss,
    )


def save(statistics: Statistics, path: Path) -> None:
    """Write everything into one `.npz` file: the whole file or nothing."""
    store.write_bytes(path, statistics.encode())


def load(path: Path) -> Statistics:
    """The statistics that `save` wrote.

    Raises:
        CalibrationError: There is no such file, or it is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CalibrationError("a file with calibration statistics", f"{error}") from error
    return Statistics.decode(content)


def _write(
    model: ir.Model | Path, wanted: Wanted, first: Feed, samples: int, folder: Path
) -> taps.Taps:
    """Both models over one file of weights; what the tapped one gives out."""
    with store.told_apart(folder):
        source = ir.load(model) if isinstance(model, Path) else model
        ir.save(source, folder / PLAIN, external_data=WEIGHTS)
        copy = ir.load(folder / PLAIN)
        names = {*wanted.values, *wanted.means}
        if any(v.shape is None for node in copy.graph for v in node.outputs if v.name in names):
            ShapeInferencePass(check_type=False, strict_mode=False)(copy)
        dimensions = {
            str(dimension.value): size
            for value in copy.graph.inputs
            if value.shape is not None and value.name in first
            for dimension, size in zip(value.shape, first[value.name].shape, strict=False)
            if isinstance(dimension, ir.SymbolicDim)
        }
        found = taps.tap(copy, wanted, samples, dimensions)
        ir.save(copy, folder / TAPPED)
    return found


def _lanes(found: taps.Taps, weights: Path, threads: int) -> int:
    """How many runs may go on at once: two, where the activations of both are not much memory.

    A second run added 0.3 to 1.5 times as much as is expected here, in eleven models.
    """
    second = sum(tap.elements for tap in found.values) * BYTES / 2 + EXTRA
    first = PROCESS + (weights.stat().st_size if weights.exists() else 0)
    return 2 if threads > 1 and second <= SHARE * first else 1


def _run_tapped(
    tapped: Child, stream: Iterator[Feed], step: int, watcher: Progress
) -> dict[int, Feed]:
    """Every `step`-th sample by its number, after all of them ran."""
    references = {}
    for i, feed in enumerate(stream):
        tapped.run(_checked(feed, i))
        if i % step == 0:
            references[i] = feed
        watcher.advance()
    return references


def _run_plainly(
    folder: Path, options: Mapping[str, Any], references: Mapping[int, Feed], runs: Sequence[float]
) -> tuple[float, int]:
    """Seconds that all samples would take in the plain model, and its peak memory.

    Only the references run. Their time is scaled by what the tapped model took for all samples by
    what it took for the same ones; that of the first run, which is slower, is not.
    """
    begin = time.perf_counter()
    with Child(folder / "plain.log") as plain:
        plain.open(folder / PLAIN, options)
        start = time.perf_counter() - begin
        first, *others = (plain.run(feed) for feed in references.values())
        rss = int(plain.ask({"op": "finish"})[0]["peak_rss_bytes"])
    same = sum(runs[i] for i in references if i > 0)
    scale = sum(runs[1:]) / (same or runs[0])
    return start + first + (sum(others) or first) * scale, rss


def _checked(feed: Feed | None, index: int) -> Feed:
    if feed is None:
        raise CalibrationError("at least one calibration sample", "none", "Give some data.")
    for name, x in feed.items():
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise CalibrationError(
                f"finite numbers in the input {name!r}",
                f"NaN or Inf in calibration sample {index}",
                "Repair or remove that sample.",
            )
    return feed


def _tensors(found: taps.Taps, arrays: Mapping[str, Any]) -> Iterator[tuple[str, TensorStatistics]]:
    for i, tap in enumerate(found.values):
        for j, image in enumerate(tap.images):
            if f"{i}.{j}.counts" not in arrays:
                continue
            counts, edges, lows, highs = (
                arrays[f"{i}.{j}.{part}"]
                for part in ("counts", "edges", "sample_low", "sample_high")
            )
            tensor = TensorStatistics(
                low=float(lows.min()),
                high=float(highs.max()),
                sample_low=lows,
                sample_high=highs,
                counts=counts,
                edge_low=float(edges[0]),
                edge_high=float(edges[1]),
            )
            yield from ((name, tensor) for name in image.values)


def _channels(
    found: taps.Taps, arrays: Mapping[str, Any]
) -> Iterator[tuple[str, ChannelStatistics]]:
    names = {
        means.value: tap.step == 1
        for tap in found.values
        for image in tap.images
        for means in image.means
    }
    names |= {tap.value: True for tap in found.channels}
    for name, is_exact in names.items():
        parts = {p: arrays[f"{p}.{name}"] for p in CHANNELS if f"{p}.{name}" in arrays}
        if parts:
            yield name, ChannelStatistics(**parts, is_exact=is_exact)


class _Clock:
    """Wall time that can be paused."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._paused = 0.0

    def seconds(self) -> float:
        """Since the beginning, without pauses."""
        return time.perf_counter() - self._begin - self._paused

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time in this block does not count."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._paused += time.perf_counter() - begin

    def paused(self, stream: Iterator[Feed]) -> Iterator[Feed]:
        """The stream; making its items does not count."""
        while True:
            with self.pause():
                item = next(stream, None)
            if item is None:
                return
            yield item
