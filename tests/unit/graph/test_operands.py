"""What storing does to operands, and how it is said."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.graph.operands import activation, overflowing, weight
from gossamer.graph.sites import Stored
from gossamer.quant import QuantSpec, qparams
from gossamer.search.findings import finding
from gossamer.statistics import ChannelStatistics, TensorStatistics

U8 = QuantSpec()
S8 = QuantSpec(dtype="s8", symmetric=True, granularity="per-channel")


def observed(values: np.ndarray) -> TensorStatistics:
    low, high = float(values.min()), float(values.max())
    edges = min(low, 0.0), max(high, 0.0)
    counts, _ = np.histogram(values, 2048, edges)
    ends = np.array([[low], [high]], np.float32)
    return TensorStatistics(
        low=low, high=high, sample_low=ends[0], sample_high=ends[1], counts=counts,
        edge_low=edges[0], edge_high=edges[1],
    )  # fmt: skip


def stored_activation(low: float, high: float) -> Stored:
    return Stored(numbers=qparams(low, high, U8), low=0, high=255, integers=None)


def stored_weight(array: np.ndarray, integers: np.ndarray | None = None) -> Stored:
    numbers = qparams(array.min(axis=1), array.max(axis=1), S8, 0)
    whole = numbers.quantize(array, S8) if integers is None else integers
    return Stored(numbers=numbers, low=-128, high=127, integers=whole)


NOISE = np.random.default_rng(0).standard_normal(100_000)


def test_a_range_that_fits_has_nothing_wrong() -> None:
    found = activation("x", observed(NOISE), stored_activation(NOISE.min(), NOISE.max()), None)

    assert found.clipped == 0
    assert found.used == pytest.approx(1, abs=0.02)
    # noise of steps d is d**2 / 12; the range is that of 100,000 numbers of variance 1
    step = (NOISE.max() - NOISE.min()) / 255
    assert found.sqnr_db == pytest.approx(10 * np.log10(12 / step**2), abs=0.3)
    assert finding((found,), None).startswith("rounding alone, most of it of the activation")


def test_what_lies_outside_the_range_is_clipped() -> None:
    found = activation("x", observed(NOISE), stored_activation(-1, 1), None)

    assert found.clipped == pytest.approx((abs(NOISE) > 1).mean(), abs=0.01)
    assert finding((found,), 0) == "activation x: clipped 31 % of values"


def test_one_far_number_is_an_outlier_and_its_channel_is_named() -> None:
    far = np.append(NOISE, 400.0)
    channels = ChannelStatistics(
        mean=np.zeros(3, np.float32), low=np.array([-4, -4, -4], np.float32),
        high=np.array([4, 400, 4], np.float32),
    )  # fmt: skip
    found = activation("x", observed(far), stored_activation(far.min(), 400), channels)

    assert found.outlier == 1
    assert finding((found,), None) == (
        "activation x: 99.9 % of values lie in 1.7 % of the range: outlier channel 1"
    )


def test_a_range_that_is_much_too_wide_is_told() -> None:
    found = activation("x", observed(NOISE), stored_activation(-100, 100), None)

    assert finding((found,), None).startswith("activation x: the values use 4")


def test_a_channel_with_few_steps_is_counted() -> None:
    array = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    integers = stored_weight(array).integers
    assert integers is not None
    integers[2] = np.clip(integers[2], -3, 3)

    found = weight("w", array, stored_weight(array, integers))

    assert found is not None
    assert (found.poor, found.channels, found.steps) == (1, 4, 7)
    assert finding((found,), None) == ("weights: 1 of 4 channels uses few steps, at worst 7 of 256")


def test_neighbours_that_exceed_a_16_bit_sum_are_counted_by_channel() -> None:
    integers = np.array([[64, 64, -128, 64], [100, 29, 0, 0], [10, 10, 10, 10]], np.int8)
    held = stored_weight(integers.astype(np.float32), integers)

    assert overflowing(held, 0) == 1  # 100 + 29 is more than 128, 64 + 64 is not
    assert finding((), 1) == "16-bit sums can overflow (1 channel)"
