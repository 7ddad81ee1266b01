"""Quantization arithmetic: what a scale and a zero point must keep, for any range."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import CalibrationError, RecipeError
from gossamer.quant import NUMPY, DType, QParams, QuantSpec, qparams

# a scale is kept in float32: half a step may be overshot by its rounding, once per stored unit
HALF_STEP = 0.5 + 1e-3

specs = st.builds(
    QuantSpec,
    dtype=st.sampled_from(["u8", "s8"]),
    symmetric=st.booleans(),
    bits=st.integers(2, 8),
)
ends = st.floats(-1e6, 1e6, width=32)
ranges = st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))


@given(spec=specs, ends=ranges, share=st.floats(0, 1))
def test_a_value_within_the_range_comes_back_within_half_a_step(
    spec: QuantSpec, ends: tuple[float, float], share: float
) -> None:
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    x = np.array([low, low + share * (high - low), high], np.float32)
    params = qparams(low, high, spec)

    error = np.abs(params.dequantize(params.quantize(x, spec)).astype(np.float64) - x)

    assert error.max() <= HALF_STEP * float(params.scale)


@given(spec=specs, ends=ranges)
def test_zero_is_exact(spec: QuantSpec, ends: tuple[float, float]) -> None:
    params = qparams(*ends, spec)

    assert params.dequantize(params.quantize(np.zeros(1, np.float32), spec))[0] == 0.0


@given(spec=specs, ends=ranges, x=ends)
def test_stored_values_stay_between_qmin_and_qmax(
    spec: QuantSpec, ends: tuple[float, float], x: float
) -> None:
    stored = qparams(*ends, spec).quantize(np.array([x], np.float32), spec)

    assert stored.dtype == NUMPY[spec.dtype]
    assert spec.qmin <= int(stored[0]) <= spec.qmax


@given(spec=specs, ends=ranges)
def test_the_scale_is_a_normal_positive_float32(spec: QuantSpec, ends: tuple[float, float]) -> None:
    params = qparams(*ends, spec)

    assert params.scale.dtype == np.float32
    assert np.finfo(np.float32).tiny <= params.scale < np.inf


@given(ends=ranges, dtype=st.sampled_from(["u8", "s8"]))
def test_a_symmetric_zero_point_is_the_middle(ends: tuple[float, float], dtype: DType) -> None:
    params = qparams(*ends, QuantSpec(dtype=dtype, symmetric=True))

    assert int(params.zero_point) == (128 if dtype == "u8" else 0)


def test_eight_bit_symmetric_s8_never_stores_minus_128() -> None:
    spec = QuantSpec(dtype="s8", symmetric=True)

    assert (spec.qmin, spec.qmax) == (-127, 127)
    assert qparams(-1.0, 0.5, spec).quantize(np.array([-9.0]), spec)[0] == -127


@pytest.mark.parametrize("spec", [QuantSpec(), QuantSpec(dtype="s8", symmetric=True)])
@pytest.mark.parametrize("width", [0.0, 1e-42, 1e-33])
def test_a_range_without_width_gets_scale_1(spec: QuantSpec, width: float) -> None:
    assert qparams(0.0, width, spec).scale == 1.0


@pytest.mark.parametrize(("low", "high"), [(2.0, 6.0), (-6.0, -2.0)])
def test_a_range_on_one_side_of_zero_is_widened_to_it(low: float, high: float) -> None:
    params = qparams(low, high, QuantSpec())

    assert params.scale == pytest.approx(6 / 255)
    assert int(params.zero_point) == (0 if low > 0 else 255)


def test_each_channel_has_its_own_scale_along_its_axis() -> None:
    spec = QuantSpec(dtype="s8", granularity="per-channel", symmetric=True)
    weight = np.array([[1.0, -100.0], [0.5, 50.0]], np.float32)

    params = qparams(weight.min(0), weight.max(0), spec, axis=1)

    np.testing.assert_allclose(params.scale, [1 / 127, 100 / 127], rtol=1e-6)
    np.testing.assert_array_equal(params.quantize(weight, spec), [[127, -127], [64, 64]])


def test_values_halfway_between_two_steps_round_to_even() -> None:
    spec = QuantSpec(dtype="s8")
    params = QParams(scale=np.float32(1), zero_point=np.int8(0))

    stored = params.quantize(np.array([0.5, 1.5, -0.5, -2.5], np.float32), spec)

    np.testing.assert_array_equal(stored, [0, 2, 0, -2])


@pytest.mark.parametrize(("low", "high"), [(np.nan, 1.0), (0.0, np.inf), (-np.inf, np.inf)])
def test_a_range_that_is_not_finite_is_refused(low: float, high: float) -> None:
    with pytest.raises(CalibrationError, match=r"needed finite ends.*1 of 1 with NaN or infinity"):
        qparams(low, high, QuantSpec())


@pytest.mark.parametrize("dtype", sorted(set(get_args(DType)) - {"u8", "s8", "u16", "s16"}))
def test_only_types_of_8_and_16_bits_are_quantized_to(dtype: DType) -> None:
    with pytest.raises(RecipeError, match=f"needed u8 or s8 with 2 to 8 bits, .*received {dtype}"):
        QuantSpec(dtype=dtype)


@pytest.mark.parametrize("bits", [1, 9])
def test_the_number_of_bits_is_2_to_8(bits: int) -> None:
    with pytest.raises(RecipeError, match=f"received u8 with {bits} bits"):
        QuantSpec(bits=bits)


@pytest.mark.parametrize(
    ("spec", "width", "ends"),
    [
        (QuantSpec(), 16, ("u16", 0, 65535)),
        (QuantSpec(dtype="s8", symmetric=True), 16, ("s16", -32767, 32767)),
        (QuantSpec(dtype="s16", bits=16), 8, ("s8", -128, 127)),
    ],
)
def test_two_bytes_hold_more_of_the_same(
    spec: QuantSpec, width: int, ends: tuple[str, int, int]
) -> None:
    other = spec.of_width(width)

    assert (other.dtype, other.qmin, other.qmax) == ends
    assert qparams(-1.0, 2.0, other).zero_point.dtype == NUMPY[other.dtype]
