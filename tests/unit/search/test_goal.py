"""Budgets as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import RecipeError
from gossamer.search.goal import MaxDrop, parse_seconds


@pytest.mark.parametrize(
    ("text", "float_score", "allowed"),
    [
        ("1%", 0.8, 0.008),
        ("0.5pt", 0.8, 0.005),
        ("0.3abs", 5.4, 0.3),
        ("1 %", -2.0, 0.02),
        ("0%", 0.9, 0.0),
    ],
)
def test_a_drop_allows_what_the_contract_says(
    text: str, float_score: float, allowed: float
) -> None:
    assert MaxDrop.parse(text).allowed(float_score) == pytest.approx(allowed, abs=1e-12)


@pytest.mark.parametrize("text", ["1", "one%", "-1%", "0.5 points", "", "%"])
def test_another_form_of_a_drop_is_refused_with_the_real_ones(text: str) -> None:
    with pytest.raises(RecipeError, match=r"1%, 0\.5pt or 0\.3abs"):
        MaxDrop.parse(text)


@given(value=st.floats(0, 100), score=st.floats(-10, 10), share=st.floats(0, 0.999))
def test_a_drop_below_the_allowed_one_holds_and_one_above_does_not(
    value: float, score: float, share: float
) -> None:
    budget = MaxDrop(kind="abs", value=value)
    assert budget.holds(value * share, score)
    assert budget.holds(value, score)
    assert not budget.holds(value + 1e-6 * max(1.0, abs(score)), score)


def test_a_better_score_is_within_every_budget() -> None:
    assert MaxDrop.parse("0%").holds(-0.01, 0.9)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("2h", 7200.0)])
def test_times_are_read_in_seconds_minutes_and_hours(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["10", "0s", "ten minutes", "-3m", "3d"])
def test_another_form_of_a_time_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="90s, 10m or 2h"):
        parse_seconds(text)
