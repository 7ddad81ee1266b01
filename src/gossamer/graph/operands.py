"""What storing does to one operand of a site: its range, its steps, what it cuts off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.diagnosis import Histogram, Tensor, decibel
from gossamer.graph.layout import PAIR, pair_sums
from gossamer.graph.sites import Stored
from gossamer.quant import QParams
from gossamer.statistics import ChannelStatistics, TensorStatistics

BINS = 60  # of a histogram that people look at
OUTSIDE = 0.001  # share of the elements that the bulk leaves out
POOR = 1 / 8  # of the integers; a channel that uses fewer has lost three of eight bits
FAR_OUT = 4.0  # times the next widest channel


def activation(
    name: str, found: TensorStatistics, stored: Stored, channels: ChannelStatistics | None
) -> Tensor:
    """What is known of a value that a site reads, from its calibration statistics."""
    centres, counts = found.bin_centres, found.counts.astype(np.float64)
    low, high = _range(stored)
    whole = _whole(centres, stored)
    after = (whole - float(stored.numbers.zero_point.max())) * float(stored.numbers.scale.max())
    step = float(stored.numbers.scale.max())
    is_out = (centres < low - step / 2) | (centres > high + step / 2)
    total = max(counts.sum(), 1.0)
    error = np.square(centres - after)
    if centres[1] - centres[0] > step:  # the middle of a bin does not tell what rounding does
        error = np.where(is_out, error, step**2 / 12)
    held = whole[counts > 0]
    return Tensor(
        name=name,
        kind="activation",
        low=found.low,
        high=found.high,
        range_low=low,
        range_high=high,
        clipped=float(counts[is_out].sum() / total),
        used=_used(found.low, found.high, low, high),
        bulk=_bulk(found.edges, counts),
        steps=int(held.max() - held.min() + 1) if held.size else 0,
        most_steps=stored.high - stored.low + 1,
        outlier=_outlier(channels),
        sqnr_db=decibel(float((counts * np.square(centres)).sum()), float((counts * error).sum())),
        histogram=_histogram(centres, after, counts),
    )


def weight(name: str, real: NDArray[np.generic] | None, stored: Stored) -> Tensor | None:
    """What is known of a stored constant; without the float one, from the integers alone."""
    if stored.integers is None:
        return None
    after = stored.numbers.dequantize(stored.integers)
    array = after if real is None else real.astype(np.float32)
    low, high = _ends(stored, after.ndim)
    step = _laid(stored.numbers.scale, stored.numbers, after.ndim)
    is_out = (array < low - step / 2 * 1.001) | (array > high + step / 2 * 1.001)
    steps = _steps(stored)
    is_alive = steps > 1  # a channel of zeros needs no steps
    alive = steps[is_alive] if is_alive.any() else steps
    return Tensor(
        name=name,
        kind="weight",
        low=float(array.min()),
        high=float(array.max()),
        range_low=float(low.min()),
        range_high=float(high.max()),
        clipped=float(is_out.mean()),
        used=_used(float(array.min()), float(array.max()), float(low.min()), float(high.max())),
        bulk=_bulk_of(array),
        steps=int(alive.min()),
        most_steps=stored.high - stored.low + 1,
        poor=int((alive < POOR * (stored.high - stored.low + 1)).sum()),
        channels=len(steps),
        sqnr_db=decibel(
            float(np.square(array, dtype=np.float64).sum()),
            float(np.square(array - after, dtype=np.float64).sum()),
        ),
        histogram=_histogram(array.ravel(), after.ravel(), np.ones(array.size)),
    )


def overflowing(stored: Stored, axis: int | None) -> int:
    """Output channels in which two neighbouring weights add up to more than a 16-bit sum holds.

    Args:
        stored: The weight; any but s8 is not added in 16 bits.
        axis: Its output channels.
    """
    if stored.integers is None or stored.low != -128:
        return 0
    return int(np.count_nonzero(pair_sums(stored.integers, axis) > PAIR))


def _whole(x: NDArray[np.float64], stored: Stored) -> NDArray[np.float64]:
    scale, zero = float(stored.numbers.scale.max()), float(stored.numbers.zero_point.max())
    found: NDArray[np.float64] = np.clip(np.rint(x / scale) + zero, stored.low, stored.high)
    return found


def _range(stored: Stored) -> tuple[float, float]:
    low, high = _ends(stored, 1)
    return float(low.min()), float(high.max())


def _ends(stored: Stored, rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The smallest and the largest number that can be stored, for each channel."""
    numbers = stored.numbers
    zero = numbers.zero_point.astype(np.float32)
    low, high = (stored.low - zero) * numbers.scale, (stored.high - zero) * numbers.scale
    return _laid(low, numbers, rank), _laid(high, numbers, rank)


def _laid(array: NDArray[np.float32], numbers: QParams, rank: int) -> NDArray[np.float32]:
    if numbers.axis is None or rank == 1:
        return np.atleast_1d(array)
    shape = [1] * rank
    shape[numbers.axis] = -1
    return array.reshape(shape)


def _steps(stored: Stored) -> NDArray[np.int64]:
    """Integers between the smallest and the largest stored one of each output channel."""
    assert stored.integers is not None  # the caller looked
    whole = stored.integers.astype(np.int64)
    axis = stored.numbers.axis
    axis = 0 if axis is None and whole.ndim > 2 else axis  # of a Conv with one scale
    rows = whole.reshape(1, -1) if axis is None else np.moveaxis(whole, axis, 0)
    rows = rows.reshape(len(rows), -1)
    found: NDArray[np.int64] = rows.max(axis=1) - rows.min(axis=1) + 1
    return found


def _used(low: float, high: float, range_low: float, range_high: float) -> float:
    width = range_high - range_low
    inside = min(max(high, 0.0), range_high) - max(min(low, 0.0), range_low)
    return max(0.0, inside / width) if width > 0 else 0.0


def _bulk(edges: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """Width of the middle that holds all but OUTSIDE, over the whole width."""
    held = np.flatnonzero(counts)
    if not held.size:
        return 1.0
    share = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(share, OUTSIDE / 2))
    last = int(np.searchsorted(share, 1 - OUTSIDE / 2))
    whole = edges[held[-1] + 1] - edges[held[0]]
    return float((edges[min(last, len(counts) - 1) + 1] - edges[first]) / whole)


def _bulk_of(array: NDArray[np.float32]) -> float:
    width = float(array.max() - array.min())
    low, high = np.quantile(array, (OUTSIDE / 2, 1 - OUTSIDE / 2))
    return float(high - low) / width if width > 0 else 1.0


def _outlier(channels: ChannelStatistics | None) -> int | None:
    """The one channel that alone is several times as wide as every other."""
    if channels is None or channels.low is None or channels.high is None or len(channels.low) < 2:
        return None
    size = np.maximum(-channels.low, channels.high)
    order = np.argsort(size)
    return int(order[-1]) if size[order[-1]] > FAR_OUT * max(size[order[-2]], 1e-30) else None


def _histogram(
    real: NDArray[np.generic], after: NDArray[np.generic], weights: NDArray[np.float64]
) -> Histogram:
    held = real[weights > 0] if weights.any() else real
    low, high = float(held.min()), float(held.max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    total = max(float(weights.sum()), 1.0)
    both = (
        np.histogram(np.clip(x, low, high), BINS, (low, high), weights=weights)[0] / total
        for x in (real, after)
    )
    first, second = (tuple(float(v) for v in counts) for counts in both)
    return Histogram(low=low, high=high, real=first, stored=second)
