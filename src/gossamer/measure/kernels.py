"""Seconds of many small models that take turns in one process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import BuildError, MeasureError
from gossamer.measure.isolate import Together

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gossamer.runtime import Feed
    from gossamer.source import TensorType

ROUNDS = 7
MIN_CALLS, MOST_CALLS = 3, 100
BLOCK_SECONDS = 0.01


def time_kernels(
    runtime: str,
    folder: Path,
    names: Sequence[str],
    *,
    threads: int,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, tuple[float, ...]]:
    """The median seconds of a call in each of 7 rounds, by file; none of those that are refused.

    In every round each model runs one block of calls and comes to rest; the order rotates.

    Args:
        runtime: Name of the runtime.
        folder: Where the files lie.
        names: Their names there. All their inputs have fixed sizes.
        threads: Threads of the runtime.
        advance: Is told of every block.

    Raises:
        BuildError: The process of the models ended.
    """
    with Together(runtime, folder, threads=threads) as together:
        feeds: dict[str, Feed] = {}
        for name in names:
            try:
                feeds[name] = _drawn(together.open(name))
                together.time(name, feeds[name], MIN_CALLS)
            except (BuildError, MeasureError):
                feeds.pop(name, None)
                if together.pid is None:  # it took the others along
                    raise
        calls = {name: _calls(together, name, feed) for name, feed in feeds.items()}
        medians: dict[str, list[float]] = {name: [] for name in feeds}
        order = list(feeds)
        for _ in range(ROUNDS):
            for name in order:
                block = together.time(name, feeds[name], calls[name])
                medians[name].append(float(np.median(block)))
                advance(1)
            order = [*order[1:], *order[:1]]
    return {name: tuple(found) for name, found in medians.items()}


def strayed(samples: Sequence[float], again: Sequence[float]) -> float:
    """How far the quietest round of one model is from that of a second session, as a fraction."""
    return abs(min(samples) / min(again) - 1.0)


def _calls(together: Together, name: str, feed: Mapping[str, np.ndarray]) -> int:
    median = float(np.median(together.time(name, feed, MIN_CALLS)))
    return min(MOST_CALLS, max(MIN_CALLS, math.ceil(BLOCK_SECONDS / max(median, 1e-9))))


def _drawn(inputs: Sequence[TensorType]) -> Feed:
    """Numbers from a normal distribution, or bytes, for each input."""
    random = np.random.default_rng(0)
    feed: Feed = {}
    for tensor in inputs:
        if tensor.shape is None or not all(isinstance(d, int) for d in tensor.shape):
            raise MeasureError("inputs of fixed sizes", f"{tensor.name} {tensor.shape}")
        drawn = random.standard_normal([int(d) for d in tensor.shape if d is not None])
        if tensor.dtype == "float32":
            feed[tensor.name] = drawn.astype(np.float32)
        else:
            feed[tensor.name] = np.clip(drawn * 32 + (tensor.dtype == "uint8") * 128, -128, 255)
            feed[tensor.name] = feed[tensor.name].astype(tensor.dtype)
    return feed
