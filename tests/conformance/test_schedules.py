"""What every schedule must be, those of third parties included."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer import plugins
from gossamer.train.prune.schedule import Schedule

SHARES = st.floats(0, 1)
SCHEDULES = [plugins.load("schedules", name)() for name in plugins.names("schedules")]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=plugins.names("schedules"))
@given(a=SHARES, b=SHARES)
def test_it_leads_from_the_first_sparsity_to_the_last(
    schedule: Schedule, a: float, b: float
) -> None:
    first, last = sorted((a, b))

    assert schedule.sparsity(0, first, last) == pytest.approx(first)
    assert schedule.sparsity(1, first, last) == pytest.approx(last)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=plugins.names("schedules"))
@given(a=SHARES, b=SHARES, t=SHARES, u=SHARES)
def test_it_never_goes_back_and_stays_in_range(
    schedule: Schedule, a: float, b: float, t: float, u: float
) -> None:
    (first, last), (early, late) = sorted((a, b)), sorted((t, u))
    before, after = (schedule.sparsity(time, first, last) for time in (early, late))

    assert first - 1e-9 <= before <= after + 1e-9 <= last + 2e-9  # float64 sums


@pytest.mark.parametrize(
    ("name", "half"),
    [("linear", 0.4), ("cosine", 0.4), ("cubic", 0.7), ("exponential", 1 - 0.2**0.5)],
)
def test_half_way_to_four_fifths_it_is_where_its_formula_says(name: str, half: float) -> None:
    assert plugins.parse("schedules", name).sparsity(0.5, 0, 0.8) == pytest.approx(half)


def test_exponential_to_nothing_keeps_everything_until_the_end() -> None:
    schedule = plugins.parse("schedules", "exponential")

    assert schedule.sparsity(0.25, 0, 1) == 1  # the same share of what is left: all of it
