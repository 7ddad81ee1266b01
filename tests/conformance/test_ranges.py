"""What every range rule keeps to, whoever wrote it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.quant import QuantSpec, qparams
from gossamer.statistics import TensorStatistics
from gossamer.step import RangeRule
from zoo.statistics import observed

RULES = plugins.names("ranges")
Samples = list[NDArray[np.float32]]

values = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
listed = st.lists(st.lists(values, max_size=6), max_size=4).map(
    lambda samples: [np.array(s, np.float32) for s in samples]
)


@st.composite
def drawn(draw: st.DrawFn) -> Samples:
    """Samples as networks have them: of any width and place, rectified, or with outliers."""
    random = np.random.default_rng(draw(st.integers(0, 999)))
    kind = draw(st.sampled_from(["normal", "uniform", "laplace", "standard_cauchy"]))
    x = getattr(random, kind)(size=(draw(st.integers(1, 4)), draw(st.integers(1, 500))))
    x = (x + draw(st.floats(-5, 5))) * 10.0 ** draw(st.integers(-20, 20))
    if draw(st.booleans()):
        x = np.maximum(x, 0.0)
    return list(x.astype(np.float32))


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> RangeRule:
    member = plugins.load("ranges", request.param)()
    assert isinstance(member, RangeRule)
    return member


def promised(rule: RangeRule, statistics: TensorStatistics, *, symmetric: bool) -> None:
    """Fail if the rule breaks what RangeRule.range promises."""
    low, high = rule.range(statistics, symmetric=symmetric)

    assert type(low) is float
    assert type(high) is float
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert min(statistics.low, 0.0) <= low <= 0.0 <= high <= max(statistics.high, 0.0)
    assert (qparams(low, high, QuantSpec(symmetric=symmetric)).scale > 0).all()


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=60)
@given(samples=listed, symmetric=st.booleans())
def test_any_values_give_a_range_inside_the_extremes_that_contains_zero(
    name: str, samples: Samples, symmetric: bool
) -> None:
    promised(plugins.load("ranges", name)(), observed(samples), symmetric=symmetric)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=60)
@given(samples=drawn(), symmetric=st.booleans())
def test_any_distribution_gives_a_range_inside_the_extremes_that_contains_zero(
    name: str, samples: Samples, symmetric: bool
) -> None:
    promised(plugins.load("ranges", name)(), observed(samples), symmetric=symmetric)


@pytest.mark.parametrize("symmetric", [False, True])
def test_nothing_observed_gives_the_range_of_zero(rule: RangeRule, symmetric: bool) -> None:
    assert rule.range(observed([]), symmetric=symmetric) == (0.0, 0.0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_only_zeros_give_the_range_of_zero(rule: RangeRule, symmetric: bool) -> None:
    zeros = observed([np.zeros(100, np.float32)] * 3)

    assert rule.range(zeros, symmetric=symmetric) == (0.0, 0.0)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("value", [-3.5, 1e-6, 7.0, 1e30])
def test_a_constant_is_kept(rule: RangeRule, value: float, symmetric: bool) -> None:
    constant = observed([np.full(100, value, np.float32)] * 3)

    low, high = rule.range(constant, symmetric=symmetric)

    # exact to a bin; a clipped constant would be wrong for every sample
    assert low + high == pytest.approx(np.float32(value), rel=2e-2)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_range_grows_with_the_values(rule: RangeRule, symmetric: bool) -> None:
    x = np.random.default_rng(0).laplace(size=(4, 5000)).astype(np.float32)

    once = rule.range(observed(list(x)), symmetric=symmetric)
    many = rule.range(observed(list(x * 1024)), symmetric=symmetric)

    assert many == pytest.approx(np.array(once) * 1024, rel=1e-3)


def test_mirrored_values_have_the_mirrored_range(rule: RangeRule) -> None:
    x = np.random.default_rng(0).gumbel(size=(4, 5000)).astype(np.float32)

    low, high = rule.range(observed(list(x)), symmetric=False)
    mirrored = rule.range(observed(list(-x)), symmetric=False)

    # searches may take the two ends in turn and stop on a coarse grid
    assert mirrored == pytest.approx((-high, -low), abs=0.05 * (high - low))


@pytest.mark.parametrize("symmetric", [False, True])
def test_rectified_values_keep_all_levels(rule: RangeRule, symmetric: bool) -> None:
    x = np.maximum(np.random.default_rng(0).normal(size=(4, 5000)), 0.0).astype(np.float32)

    low, high = rule.range(observed(list(x)), symmetric=symmetric)

    assert low == 0.0
    assert high > 2.0  # two standard deviations: no rule throws away 5 % of the values


def test_statistics_are_only_read(rule: RangeRule) -> None:
    statistics = observed(list(np.random.default_rng(0).normal(size=(4, 500)).astype(np.float32)))
    arrays = (statistics.counts, statistics.sample_low, statistics.sample_high)
    for array in arrays:
        array.setflags(write=False)

    first = rule.range(statistics, symmetric=False)

    assert rule.range(statistics, symmetric=False) == first


def test_every_option_has_a_default_and_a_description(rule: RangeRule) -> None:
    text = type(rule).__doc__ or ""

    for field in dataclasses.fields(rule):
        assert field.default is not dataclasses.MISSING
        assert f"{field.name}: " in text


def test_a_rule_survives_being_written_as_yaml(rule: RangeRule) -> None:
    assert plugins.parse("ranges", plugins.dump(rule)) == rule
