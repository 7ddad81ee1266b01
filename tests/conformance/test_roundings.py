"""What every rounding must be, those of third parties included."""

from __future__ import annotations

import dataclasses

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.quant import Grid
from gossamer.step import Rounding

Weights = NDArray[np.float32]
NUMBERS = st.floats(-4, 4, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
MATRICES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=NUMBERS
)


@pytest.fixture(params=plugins.names("roundings"))
def rounding(request: pytest.FixtureRequest) -> Rounding:
    found: Rounding = plugins.load("roundings", request.param)()
    return found


def grid(weight: Weights, size: int, bits: int) -> Grid:
    """Whole ranges of groups, zero points anywhere."""
    groups = [weight[:, i : i + size] for i in range(0, weight.shape[1], size)]
    low = np.stack([np.minimum(g.min(axis=1), 0) for g in groups], axis=1)
    high = np.stack([np.maximum(g.max(axis=1), 0) for g in groups], axis=1)
    scale = np.where(high > low, (high - low) / (2**bits - 1), 1).astype(np.float32)
    zero = np.rint(-low / scale).astype(np.float32)
    return Grid(scale=scale, zero_point=zero, size=size, qmin=0, qmax=2**bits - 1)


def hessian(inputs: int) -> Weights:
    """Of inputs that depend on each other, the last of which is always 0."""
    data = np.random.default_rng(inputs).standard_normal((32, inputs)).astype(np.float32)
    data[:, 1:] += data[:, :-1]
    data[:, -1] = 0
    return (data.T @ data / len(data)).astype(np.float32)


def test_it_is_a_frozen_value_that_survives_its_yaml_form(rounding: Rounding) -> None:
    assert plugins.parse("roundings", plugins.dump(rounding)) == rounding
    assert dataclasses.is_dataclass(rounding)


@given(weight=MATRICES, size=st.integers(1, 9), bits=st.sampled_from([2, 4, 8]))
def test_what_it_stores_can_be_stored(weight: Weights, size: int, bits: int) -> None:
    for name in plugins.names("roundings"):
        rounding = plugins.load("roundings", name)()
        given_grid, before = grid(weight, min(size, weight.shape[1]), bits), weight.copy()
        data = hessian(weight.shape[1]) if rounding.needs_hessian else None

        stored, found = rounding.round(weight, given_grid, data)

        assert stored.shape == weight.shape
        assert stored.min() >= given_grid.qmin
        assert stored.max() <= given_grid.qmax
        assert found.scale.shape == given_grid.scale.shape == found.zero_point.shape
        assert (found.scale > 0).all()
        assert np.isfinite(found.dequantize(stored)).all()
        assert np.array_equal(weight, before)


def test_weights_that_can_be_stored_stay_as_they_are(rounding: Rounding) -> None:
    generator = np.random.default_rng(0)
    whole = generator.integers(0, 16, (6, 32)).astype(np.float32)
    whole[:, ::8], whole[:, 1::8] = 0, 15  # each group uses the whole grid
    scale = generator.uniform(0.1, 2, (6, 4)).astype(np.float32)
    known = Grid(scale=scale, zero_point=np.full((6, 4), 7, np.float32), size=8, qmin=0, qmax=15)
    weight = known.dequantize(whole.astype(np.int16))

    stored, found = rounding.round(weight, known, hessian(32) if rounding.needs_hessian else None)

    np.testing.assert_allclose(found.dequantize(stored), weight, atol=1e-5)


def test_it_does_no_worse_than_nearest_where_it_looks(rounding: Rounding) -> None:
    """In the outputs where it asked for data, in the weights otherwise (within a hundredth)."""
    weight = np.random.default_rng(1).standard_normal((16, 64)).astype(np.float32)
    given_grid, data = grid(weight, 16, 4), hessian(64)
    metric = data if rounding.needs_hessian else np.eye(64, dtype=np.float32)

    stored, found = rounding.round(weight, given_grid, data if rounding.needs_hessian else None)

    def noise(error: Weights) -> float:
        return float(((error @ metric) * error).sum())

    nearest = given_grid.dequantize(given_grid.quantize(weight))
    assert noise(weight - found.dequantize(stored)) <= 1.01 * noise(weight - nearest)
