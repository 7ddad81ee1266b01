"""The numbers of each range rule, against direct computation on the values themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer.errors import RecipeError
from gossamer.graph.observers.entropy import Entropy, divergence
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.observers.moving_average import MovingAverage
from gossamer.graph.observers.mse import Mse
from gossamer.graph.observers.percentile import Percentile
from gossamer.quant import QuantSpec, qparams
from zoo.statistics import observed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.step import RangeRule


def normal(seed: int = 0, size: int = 100_000) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def heavy_tailed(size: int = 100_000) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_t(3, size=size).astype(np.float32)


def error(x: NDArray[np.float32], low: float, high: float, *, symmetric: bool) -> float:
    """Mean squared error of really quantizing x with this range."""
    spec = QuantSpec(symmetric=symmetric)
    numbers = qparams(low, high, spec)
    return float(np.mean((numbers.dequantize(numbers.quantize(x, spec)) - x) ** 2))


def around(x: NDArray[np.float32], share: float) -> tuple[float, float]:
    """The two values between which a quantile lies, whatever its convention."""
    gap = 1.0 / len(x)
    return (
        float(np.quantile(x, max(share - gap, 0.0), method="lower")),
        float(np.quantile(x, min(share + gap, 1.0), method="higher")),
    )


def test_min_max_is_the_exact_extremes() -> None:
    x = normal()

    assert MinMax().range(observed([x]), symmetric=False) == (float(x.min()), float(x.max()))


@pytest.mark.parametrize(("values", "expected"), [((2, 5), (0, 5)), ((-5, -2), (-5, 0))])
def test_min_max_of_one_sign_contains_zero(
    values: tuple[float, float], expected: tuple[float, float]
) -> None:
    statistics = observed([np.array(values, np.float32)])

    assert MinMax().range(statistics, symmetric=False) == expected


@given(
    highs=st.lists(st.floats(1, 100, width=32), min_size=1, max_size=40),
    c=st.sampled_from([0.01, 0.1, 0.5, 1.0]),
)
def test_moving_average_is_its_recursion(highs: list[float], c: float) -> None:
    statistics = observed([np.array([-h / 2, h], np.float32) for h in highs])
    mean = highs[0]
    for high in highs[1:]:
        mean += c * (high - mean)

    low, high = MovingAverage(c=c).range(statistics, symmetric=False)

    assert (low, high) == pytest.approx((-mean / 2, mean), rel=1e-6)


def test_moving_average_of_one_sample_is_min_max() -> None:
    statistics = observed([normal()])

    assert MovingAverage().range(statistics, symmetric=False) == pytest.approx(
        MinMax().range(statistics, symmetric=False)
    )


def test_moving_average_weighs_later_samples_more() -> None:
    samples = [np.array([h], np.float32) for h in (1, 1, 1, 9)]

    _, late = MovingAverage().range(observed(samples), symmetric=False)
    _, early = MovingAverage().range(observed(samples[::-1]), symmetric=False)

    assert late == pytest.approx(1.8)
    assert early == pytest.approx(1 + 8 * 0.9**3)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 99),
    p=st.floats(50, 100),
    shift=st.floats(-3, 3),
    rectified=st.booleans(),
)
@example(seed=49, p=98.09375, shift=2.0, rectified=False)  # in front of empty bins
def test_percentile_is_the_quantile_of_the_values_to_a_bin(
    seed: int, p: float, shift: float, rectified: bool
) -> None:
    x = normal(seed, 20_000) + np.float32(shift)
    x = np.maximum(x, 0) if rectified else x
    statistics = observed([x])
    width = statistics.edges[1] - statistics.edges[0]
    share = p / 100

    low, high = Percentile(p=p).range(statistics, symmetric=False)

    least, most = around(x, (1 - share) / 2)
    assert min(least, 0) - width <= low <= min(most, 0) + width
    least, most = around(x, (1 + share) / 2)
    assert max(least, 0) - width <= high <= max(most, 0) + width


@settings(max_examples=40)
@given(seed=st.integers(0, 99), p=st.floats(50, 99.9), shift=st.floats(-3, 3))
def test_symmetric_percentile_is_the_quantile_of_the_magnitudes_to_a_bin(
    seed: int, p: float, shift: float
) -> None:
    x = normal(seed, 20_000) + np.float32(shift)
    statistics = observed([x])
    width = statistics.edges[1] - statistics.edges[0]

    low, high = Percentile(p=p).range(statistics, symmetric=True)

    least, most = around(np.abs(x), p / 100)
    assert least - 2 * width <= max(-low, high) <= most + 2 * width


def test_percentile_100_is_min_max() -> None:
    statistics = observed([normal()])

    for symmetric in (False, True):
        low, high = Percentile(p=100.0).range(statistics, symmetric=symmetric)
        # the outermost values may lie anywhere in their bins
        width = statistics.edges[1] - statistics.edges[0]
        assert max(-low, high) == pytest.approx(
            max(-statistics.low, statistics.high), abs=2 * width
        )


def test_percentile_ignores_one_outlier_among_many_values() -> None:
    x = np.append(normal(size=200_000), np.float32(1000))

    _, high = Percentile().range(observed([x]), symmetric=False)

    assert high < 6


def test_entropy_clips_a_far_outlier() -> None:
    x = np.append(normal(), np.float32(60))

    for symmetric in (False, True):
        low, high = Entropy().range(observed([x]), symmetric=symmetric)
        assert 3 < high < 20  # a third of the extreme, yet all of the rest
        assert low >= float(x.min())


def test_entropy_of_uniform_values_clips_nothing() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 200_000).astype(np.float32)

    low, high = Entropy().range(observed([x]), symmetric=True)

    assert (low, high) == pytest.approx((x.min(), x.max()), rel=0.01)


def test_entropy_cuts_the_longer_side_first() -> None:
    x = np.maximum(np.append(normal(), np.float32(60)), -0.5)

    low, high = Entropy().range(observed([x]), symmetric=False)

    assert low == -0.5
    assert high < 20


def test_entropy_does_not_clip_a_few_elements() -> None:
    few = observed([np.array([-0.2, 0.1, 0.15, 0.7, -0.4, 0.9], np.float32)])

    assert Entropy().range(few, symmetric=False) == (few.low, few.high)


def test_entropy_with_fewer_levels_clips_more() -> None:
    statistics = observed([heavy_tailed()])

    _, few = Entropy(levels=16).range(statistics, symmetric=True)
    _, many = Entropy(levels=512).range(statistics, symmetric=True)

    assert few < many


@given(
    counts=st.lists(st.integers(0, 50), min_size=64, max_size=64).filter(lambda c: sum(c[:8]) > 0),
    groups=st.integers(1, 8),
)
def test_divergence_is_that_of_the_two_distributions(counts: list[int], groups: int) -> None:
    levels = 8
    kept = groups * levels  # borders of groups are borders of bins
    shares = np.array(counts) / sum(counts)
    p = shares[:kept].copy()
    p[-1] += shares[kept:].sum()
    q = np.zeros(kept)
    used = shares[:kept] > 0
    used[-1] = p[-1] > 0
    for group in np.split(np.arange(kept), levels):
        held = group[used[group]]
        q[held] = shares[group].sum() / max(len(held), 1)
    q = np.maximum(q / q.sum(), 1e-10)
    wanted = np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0]))

    loss = divergence(shares, np.array([kept]), levels)

    assert loss == pytest.approx([wanted], abs=1e-9)


@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_beats_min_max_on_heavy_tails(symmetric: bool) -> None:
    x = heavy_tailed()
    statistics = observed([x])

    best = error(x, *Mse().range(statistics, symmetric=symmetric), symmetric=symmetric)

    assert best < 0.9 * error(x, float(x.min()), float(x.max()), symmetric=symmetric)


@pytest.mark.parametrize("name", ["normal", "laplace", "uniform", "logistic"])
def test_mse_is_near_the_best_of_an_exhaustive_search(name: str) -> None:
    x = getattr(np.random.default_rng(0), name)(size=20_000).astype(np.float32)
    reach = float(np.abs(x).max())

    low, high = Mse().range(observed([x]), symmetric=True)

    shares = np.linspace(0.05, 1, 200)
    tried = np.array([error(x, -t * reach, t * reach, symmetric=True) for t in shares])
    found = error(x, low, high, symmetric=True)
    assert found <= 1.15 * tried.min()  # a tenth of slack is the rule's own
    plateau = shares[tried <= 1.1 * tried.min()] * reach
    assert high == pytest.approx(plateau.mean(), abs=0.02 * reach)


@pytest.mark.parametrize("name", ["laplace", "gumbel"])
def test_mse_is_near_the_best_of_an_exhaustive_search_over_both_ends(name: str) -> None:
    x = getattr(np.random.default_rng(0), name)(size=5_000).astype(np.float32)
    low, high = float(x.min()), float(x.max())

    found = error(x, *Mse().range(observed([x]), symmetric=False), symmetric=False)

    grid = np.linspace(0.5, 1, 26)
    tried = [error(x, a * low, b * high, symmetric=False) for a in grid for b in grid]
    assert found <= 1.15 * min(tried)


def test_mse_clips_the_end_with_the_outlier_alone() -> None:
    x = np.append(normal(size=1_000_000), np.float32(60))

    low, high = Mse().range(observed([x]), symmetric=False)

    assert low < 0.7 * float(x.min())
    assert high < 30


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_mse_does_not_depend_on_the_unit(scale: float) -> None:
    x = heavy_tailed(20_000)

    found = Mse().range(observed([(x * scale).astype(np.float32)]), symmetric=False)

    wanted = np.array(Mse().range(observed([x]), symmetric=False)) * scale
    assert found == pytest.approx(wanted, rel=1e-2)


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda: MovingAverage(c=0.0), "0.0"),
        (lambda: MovingAverage(c=1.5), "1.5"),
        (lambda: Percentile(p=0.9999), "0.9999"),
        (lambda: Percentile(p=101.0), "101.0"),
        (lambda: Entropy(levels=1), "1"),
        (lambda: Entropy(levels=5000), "5000"),
        (lambda: Mse(candidates=1), "1"),
        (lambda: Mse(candidates=10**6), "1000000"),
    ],
)
def test_options_that_cannot_work_are_refused(make: type[RangeRule], received: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()

    assert caught.value.received == received
    assert caught.value.needed
    assert "usual" in caught.value.hint
