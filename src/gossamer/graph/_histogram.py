"""A histogram whose range grows with the data, in constant memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BINS = 4096
MIN_BINS = 2048
FEW = 1024  # values that are counted one by one sooner than by adding all bins
# 2**exponent and its inverse stay normal float32 numbers
SMALLEST_EXPONENT, LARGEST_EXPONENT = -120, 120


class Histogram:
    """Counts of values in bins of one width, a power of two, with an edge at 0.

    When the data outgrow MAX_BINS bins, neighbours are merged in pairs and the width doubles. So
    growing loses nothing but resolution, and histograms of shards can be added.

    Attributes:
        exponent: A bin is 2**exponent wide.
        first: Bin 0 begins at first * 2**exponent.
        counts: `[bins]` int64; between MAX_BINS / 2 and MAX_BINS unless all values are 0.
    """

    def __init__(self, low: float, high: float) -> None:
        reach = max(high, 0.0) - min(low, 0.0)
        self.exponent = _exponent(reach / MAX_BINS) if reach > 0.0 else SMALLEST_EXPONENT
        self.first = 0
        self.counts = np.zeros(MIN_BINS, np.int64)
        self.cover(low, high)

    @property
    def width(self) -> float:
        """Of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> tuple[float, float]:
        """Left edge of the first bin and right edge of the last."""
        return self.first * self.width, (self.first + len(self.counts)) * self.width

    def cover(self, low: float, high: float) -> None:
        """Widen the range to [low, high] and 0."""
        while True:
            old = self.first + len(self.counts)
            first = min(self.first, math.floor(min(low, 0.0) / self.width))
            last = max(old, math.floor(max(high, 0.0) / self.width) + 1)
            if last - first <= MAX_BINS:
                break
            self._merge()
        if last - first > len(self.counts):
            counts = np.zeros(last - first, np.int64)  # np.pad takes ten times as long
            counts[self.first - first : old - first] = self.counts
            self.counts = counts
            self.first = first

    def add(self, values: NDArray[np.float32], weight: int = 1) -> None:
        """Count finite values that the range covers, each of them `weight` times."""
        # exact: the factor is a power of two, and what floor leaves are small integers
        bins = values * np.float32(math.ldexp(1.0, -self.exponent))
        if self.first < 0:
            np.floor(bins, out=bins)
            bins -= np.float32(self.first)
        places = bins.astype(np.intp)
        if len(places) < FEW:
            np.add.at(self.counts, places, weight)
        else:
            self.counts += weight * np.bincount(places, minlength=len(self.counts))

    def quantiles(self, share: float) -> tuple[float, float]:
        """Edges beyond which `share` of the mass lies at either end, or less."""
        mass = np.cumsum(self.counts)
        allowed = share * mass[-1]
        low = int(np.searchsorted(mass, allowed, side="right"))
        high = int(np.searchsorted(mass, mass[-1] - allowed)) + 1
        return (self.first + low) * self.width, (self.first + high) * self.width

    def _merge(self) -> None:
        odd = self.first % 2
        padded = np.pad(self.counts, (odd, (len(self.counts) + odd) % 2))
        self.counts = padded.reshape(-1, 2).sum(axis=1)
        self.first = (self.first - odd) // 2
        self.exponent += 1


def _exponent(width: float) -> int:
    return min(max(math.ceil(math.log2(width)), SMALLEST_EXPONENT), LARGEST_EXPONENT)
