"""What one run of a tapped graph tells of each value, see `taps`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Elements = NDArray[np.float32]

TOGETHER = 1 << 17  # elements of whole values that are looked at at once, half of an L2 cache
NOTHING = np.empty(0, np.float32)


class Look(NamedTuple):
    """What one run tells of one value.

    Attributes:
        low: Its minimum; inf of an empty value.
        high: Its maximum; -inf of an empty value.
        start: The element that the sample begins with.
        sample: Every step-th element from there, `[n]`.
        loud: All elements not below the upper threshold, or below the lower one, `[n]`.
    """

    low: float
    high: float
    start: int
    sample: Elements
    loud: Elements


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave out.

    Attributes:
        results: The outputs of the graph.
        start: The element that samples begin with, modulo their step.
        thresholds: The lower and the upper one of each tap, `[2, taps]`.
        seconds: How long it took.
    """

    results: Sequence[Elements]
    start: int
    thresholds: NDArray[np.float32]
    seconds: float


def readers(taps: Sequence[Mapping[str, Any]]) -> list[Tapped | Whole]:
    """What makes looks of a run, for taps as in `taps.Tap`."""
    found: list[Tapped | Whole] = []
    alike = defaultdict(list)
    for i, tap in enumerate(taps):
        if "whole" in tap["outputs"]:
            alike[tap["elements"], tap["step"]].append((i, tap["outputs"]["whole"]))
        else:
            found.append(Tapped(i, tap["step"], tap["outputs"]))
    for (elements, step), values in alike.items():
        most = max(TOGETHER // max(elements, 1), 1)
        for first in range(0, len(values), most):
            indices, positions = zip(*values[first : first + most], strict=True)
            found.append(Whole(indices, positions, step))
    return found


class Tapped:
    """Reads the outputs of one tap.

    Args:
        index: Of the tap.
        step: Distance of the elements of its sample.
        outputs: Positions of its parts among the results of a run.
    """

    def __init__(self, index: int, step: int, outputs: Mapping[str, int]) -> None:
        self._index = index
        self._step = step
        self._outputs = outputs

    def looks(self, run: Run) -> Iterator[tuple[int, Look]]:
        """The number of the tap, and what the run tells."""
        below, above = run.thresholds[:, self._index]
        outputs, results = self._outputs, run.results
        rows = results[outputs["loud"]]
        is_loud = rows >= above
        low = 0.0  # an output of Relu or Clip(0, …) tells no minimum: it cannot be below 0
        if "lowest" in outputs:
            low = results[outputs["lowest"]].min(initial=math.inf)
            is_loud |= rows < below
        high = results[outputs["highest"]].max(initial=-math.inf)
        sample = results[outputs["sample"]]
        yield self._index, Look(low, high, run.start % self._step, sample, rows[is_loud])


class Whole:
    """Reads values that come out whole and are of one size, as a rule, all at once.

    One look at all of ResNet-56 took 2.05 ms instead of 4.05 (2026-11).

    Args:
        indices: Of the taps.
        positions: Of the values among the results of a run.
        step: Distance of the elements of their samples.
    """

    def __init__(self, indices: Sequence[int], positions: Sequence[int], step: int) -> None:
        self._indices = np.array(indices)
        self._positions = positions
        self._step = step

    def looks(self, run: Run) -> Iterator[tuple[int, Look]]:
        """The number of each tap, and what the run tells."""
        rows = [run.results[i].reshape(1, -1) for i in self._positions]
        if len({row.size for row in rows}) == 1:
            yield from self._together(np.concatenate(rows), self._indices, run)
            return
        for i, row in enumerate(rows):
            yield from self._together(row, self._indices[i : i + 1], run)

    def _together(
        self, x: Elements, indices: NDArray[np.intp], run: Run
    ) -> Iterator[tuple[int, Look]]:
        """The same for values `[values, elements]`."""
        values, elements = x.shape
        lows = x.min(axis=1, initial=math.inf)
        highs = x.max(axis=1, initial=-math.inf)
        if self._step == 1:  # all elements are sampled
            louds = [NOTHING] * values
        else:
            below, above = run.thresholds[:, indices]
            is_loud = x >= above[:, None]
            if (lows < below).any():
                is_loud |= x < below[:, None]
            where = np.flatnonzero(is_loud)
            ends = np.searchsorted(where, np.arange(values + 1) * elements).tolist()
            loud = x.reshape(-1)[where]
            louds = [loud[i:j] for i, j in pairwise(ends)]
        start = run.start % self._step
        samples = x[:, start :: self._step].copy()
        parts = lows.tolist(), highs.tolist(), samples, louds
        for i, low, high, sample, loud in zip(indices.tolist(), *parts, strict=True):
            yield i, Look(low, high, start, sample, loud)
