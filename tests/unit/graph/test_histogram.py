"""The growing histogram: constant memory, exact counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.graph._histogram import MAX_BINS, MIN_BINS, Histogram

numbers = st.floats(-(2.0**60), 2.0**60, width=32).map(lambda x: x if abs(x) > 2.0**-60 else 0.0)
chunks = st.lists(
    st.lists(numbers, min_size=1, max_size=30).map(lambda x: np.array(x, np.float32)),
    min_size=1,
    max_size=6,
)


def filled(parts: list[np.ndarray]) -> Histogram:
    histogram = Histogram(float(parts[0].min()), float(parts[0].max()))
    for part in parts:
        histogram.cover(float(part.min()), float(part.max()))
        histogram.add(part)
    return histogram


@given(chunks)
def test_growing_keeps_every_element_in_its_bin(parts: list[np.ndarray]) -> None:
    histogram = filled(parts)
    x = np.concatenate(parts).astype(np.float64)
    wanted = np.bincount(
        np.floor(x / histogram.width).astype(np.int64) - histogram.first,
        minlength=len(histogram.counts),
    )

    assert np.array_equal(histogram.counts, wanted)


@given(chunks)
def test_the_range_contains_the_data_and_zero(parts: list[np.ndarray]) -> None:
    histogram = filled(parts)
    low, high = histogram.edges

    assert low <= min(0.0, *(float(p.min()) for p in parts))
    assert high > max(0.0, *(float(p.max()) for p in parts))


@given(chunks)
def test_memory_is_bounded_whatever_comes(parts: list[np.ndarray]) -> None:
    assert MIN_BINS <= len(filled(parts).counts) <= MAX_BINS


@given(chunks)
def test_zero_is_an_edge_of_a_bin(parts: list[np.ndarray]) -> None:
    histogram = filled(parts)

    assert histogram.first <= 0 <= histogram.first + len(histogram.counts)


def test_the_order_of_chunks_does_not_matter_once_the_range_is_known() -> None:
    parts = [np.random.default_rng(i).normal(size=500).astype(np.float32) * 4**i for i in range(5)]
    one, other = filled(parts), filled(parts[::-1])
    # the second began wide, so that it may be coarser: merge until both have one width
    while one.exponent < other.exponent:
        one._merge()
    while other.exponent < one.exponent:
        other._merge()

    assert np.array_equal(np.trim_zeros(one.counts), np.trim_zeros(other.counts))


def test_a_weight_counts_an_element_several_times() -> None:
    histogram = Histogram(0.0, 1.0)

    histogram.add(np.array([0.25, 0.5], np.float32), weight=7)

    assert histogram.counts.sum() == 14


@pytest.mark.parametrize("share", [0.001, 0.05, 0.4])
def test_quantiles_leave_the_share_outside(share: float) -> None:
    x = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    histogram = filled([x])

    low, high = histogram.quantiles(share)

    # to a bin, which holds at most 0.2 % here
    assert share - 0.002 <= np.mean(x < low) <= share
    assert share - 0.002 <= np.mean(x >= high) <= share


def test_quantiles_of_a_heap_at_the_end_leave_all_of_it_inside() -> None:
    x = np.append(np.full(1000, -0.17), np.linspace(0, 8, 1000)).astype(np.float32)

    low, _ = filled([x]).quantiles(0.001)

    assert low <= -0.17


def test_zeros_and_then_huge_values_still_fit() -> None:
    histogram = Histogram(0.0, 0.0)
    histogram.add(np.zeros(3, np.float32))

    histogram.cover(-3e38, 3e38)
    histogram.add(np.array([-3e38, 3e38], np.float32))

    assert histogram.counts.sum() == 5
    assert len(histogram.counts) <= MAX_BINS
