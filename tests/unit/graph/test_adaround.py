from __future__ import annotations

from dataclasses import replace

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.graph.roundings.adaround import Adaround
from gossamer.graph.weights import weight_numbers
from gossamer.quant import Grid, QuantSpec

Weights = NDArray[np.float32]
MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-8, 8, width=32),
)


def int_spec(bits: int = 8) -> QuantSpec:
    return QuantSpec(dtype="s8", granularity="per-channel", symmetric=True, bits=bits)


def grid(weight: Weights, spec: QuantSpec) -> Grid:
    """As a weight `[outputs, inputs]` of a Gemm with transB is stored."""
    scale = weight_numbers(weight, spec, 0).scale[:, None]
    zero = np.zeros_like(scale)
    return Grid(scale=scale, zero_point=zero, size=weight.shape[1], qmin=spec.qmin, qmax=spec.qmax)


def hessian(inputs: int, seed: int, rows: int = 40) -> Weights:
    """Of inputs of very different sizes that depend on each other."""
    random = np.random.default_rng(seed)
    data = random.normal(size=(rows, inputs)) @ random.normal(size=(inputs, inputs))
    data = np.maximum(data, 0) * random.uniform(0, 3, inputs) ** 4
    return (data.T @ data / rows).astype(np.float32)


def noise(error: Weights, data: Weights) -> NDArray[np.float64]:
    """Of each output."""
    wide = error.astype(np.float64)
    found: NDArray[np.float64] = ((wide @ data) * wide).sum(axis=1)
    return found


@given(weight=MATRICES, bits=st.integers(2, 8), seed=st.integers(0, 99), rows=st.integers(1, 40))
def test_no_output_has_more_noise_than_with_the_nearest(
    weight: Weights, bits: int, seed: int, rows: int
) -> None:
    known = grid(weight, int_spec(bits))
    data = hessian(weight.shape[1], seed, rows)

    stored, _ = Adaround().round(weight, known, data)

    nearest = noise(weight - known.dequantize(known.quantize(weight)), data)
    got = noise(weight - known.dequantize(stored), data)
    assert (got <= nearest + 1e-5 * (nearest + data.max() * np.square(known.scale[:, 0]))).all()


@given(weight=MATRICES, bits=st.integers(2, 8), seed=st.integers(0, 99))
def test_each_weight_goes_to_one_of_its_two_neighbours(
    weight: Weights, bits: int, seed: int
) -> None:
    known = grid(weight, int_spec(bits))

    stored, kept = Adaround().round(weight, known, hessian(weight.shape[1], seed))

    assert kept is known
    assert (np.abs(stored - weight / known.scale) < 1 + 1e-4).all()


@given(weight=MATRICES, seed=st.integers(0, 99))
def test_no_pair_is_more_than_16_bit_sums_hold(weight: Weights, seed: int) -> None:
    """Of large weights, next to each other and of one sign, rounded up."""
    spec = replace(int_spec(), accumulator="s16")
    wide = np.concatenate([weight, 8 * np.ones_like(weight) - np.abs(weight) / 99], axis=1)
    known = grid(wide, spec)

    stored, _ = Adaround().round(wide, known, hessian(wide.shape[1], seed))

    assert np.abs(stored[:, 1:] + stored[:, :-1]).max(initial=0) <= 128


@pytest.mark.parametrize("inputs", [63, 64, 200])
def test_it_takes_most_of_the_noise_away_where_inputs_depend_on_each_other(inputs: int) -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(32, inputs)).astype(np.float32)
    latent = random.normal(size=(4 * inputs, inputs // 4)) @ random.normal(
        size=(inputs // 4, inputs)
    )
    data = np.asarray(latent.T @ latent / len(latent), np.float32)
    known = grid(weight, int_spec(4))

    stored, _ = Adaround().round(weight, known, data)

    nearest = noise(weight - known.dequantize(known.quantize(weight)), data)
    assert noise(weight - known.dequantize(stored), data).sum() < nearest.sum() / 3


def test_it_is_deterministic_and_leaves_weights_without_data_at_the_nearest() -> None:
    weight = np.random.default_rng(0).normal(size=(8, 100)).astype(np.float32)
    known, data = grid(weight, int_spec()), hessian(100, 0)

    first, second = (Adaround().round(weight, known, data)[0] for _ in range(2))
    idle, _ = Adaround().round(weight, known, np.zeros((100, 100), np.float32))

    assert np.array_equal(first, second)
    assert not np.array_equal(first, known.quantize(weight))
    assert np.array_equal(idle, known.quantize(weight))
