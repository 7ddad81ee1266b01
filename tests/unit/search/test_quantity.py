"""Objectives, constraints, and which candidates no other one beats."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import RecipeError
from gossamer.result import Candidate
from gossamer.search.quantity import Constraint, Objective, front


def candidate(identity: str = "a", **measured: Any) -> Candidate:
    fields: dict[str, Any] = {"latency_ms": {"median": 2.0}, "size_bytes": 3_000_000, **measured}
    return Candidate(
        id=identity, status="ok", runtime="ort", target="ort-cpu", label="", recipe={}, **fields
    )


@pytest.mark.parametrize(
    ("text", "excess"),
    [
        ("size <= 2MB", 0.5),
        ("size <= 6MB", -0.5),
        ("latency <= 2ms", 0.0),
        ("latency <= 0.001 s", 1.0),
        ("peak_memory >= 100", -1.0),
        ("f1 >= 0.8", 0.25),
        ("drop <= 1pt", 1.0),
    ],
)
def test_a_constraint_says_by_what_share_it_is_missed(text: str, excess: float) -> None:
    found = candidate(metrics={"f1": 0.6}, peak_rss_bytes=200, drop=0.02)

    assert Constraint.parse(text).excess(found) == pytest.approx(excess)


@pytest.mark.parametrize("text", ["size < 2MB", "size <= 2ms", "f1 >= 80%", "<= 3", "size"])
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        Constraint.parse(text)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("latency", 2.0),
        ("score", -0.9),
        ("throughput", -7.0),
        ("maximize f1", -0.6),
        ("minimize score", 0.9),
    ],
)
def test_a_small_cost_is_what_is_wanted(text: str, cost: float) -> None:
    found = candidate(score=0.9, throughput=7.0, metrics={"f1": 0.6})

    assert Objective.parse(text, higher_is_better=True).cost(found) == pytest.approx(cost)


def test_a_score_that_is_better_when_lower_is_minimized() -> None:
    assert Objective.parse("score", higher_is_better=False).direction == "minimize"


@pytest.mark.parametrize("text", ["f1", "maximise f1", "", "maximize f1 score"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="an objective"):
        Objective.parse(text, higher_is_better=True)


def test_a_metric_that_the_task_has_not_is_told_with_those_it_has() -> None:
    with pytest.raises(RecipeError, match="f1"):
        Constraint.parse("f2 >= 0.5").excess(candidate(metrics={"f1": 0.6}))


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(points=POINTS)
def test_the_front_is_what_no_other_candidate_beats(points: list[tuple[int, int]]) -> None:
    objectives = [Objective.parse(t, higher_is_better=True) for t in ("latency", "throughput")]
    drawn = [
        candidate(str(i), latency_ms={"median": a}, throughput=b) for i, (a, b) in enumerate(points)
    ]
    found = [
        (c.latency_ms["median"], c.throughput) for c in front(drawn, objectives) if c.latency_ms
    ]

    def is_beaten(a: float, b: float) -> bool:
        return any(x <= a and y >= b and (x, y) != (a, b) for x, y in points)

    assert sorted(found) == sorted({p for p in points if not is_beaten(*p)})
    assert found == sorted(found)
