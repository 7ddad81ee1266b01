"""Which of several finished candidates wins."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, cast

import pytest

from gossamer.progress import Silent
from gossamer.result import Candidate
from gossamer.search import search
from gossamer.search.finalists import finalists, is_clear
from gossamer.search.verdict import best
from zoo import results


def static(rule: str, ms: float, score: float, **more: Any) -> Candidate:
    steps = [{"simplify": {}}, {"quantize-static": {"ranges": {rule: {}}, "exclude": []}}]
    recipe = results.recipe() | {"graph-steps": steps}
    return results.measured(f"static {rule}", "ort", ms, score, 1000, recipe=recipe, **more)


def won(*candidates: Candidate) -> str:
    trials = types.SimpleNamespace(
        candidates={c.id: c for c in candidates}, baseline=results.baseline()
    )
    return best(cast("Any", trials), finalists(candidates)).label


def test_the_most_accurate_of_those_with_the_same_kernels_wins() -> None:
    mse, percentile = static("mse", 0.10, 0.8125), static("percentile", 0.11, 0.8133)

    assert won(mse, percentile) == "static percentile"


def test_what_changes_fewer_answers_is_preferred_to_a_lucky_score() -> None:
    mse = static("mse", 0.10, 0.8125, changed=0.01)
    lucky = static("percentile", 0.11, 0.8133, changed=0.04)

    assert won(mse, lucky) == "static mse"


def test_other_kernels_win_by_speed_alone() -> None:
    dynamic = results.measured(
        "dynamic", "ort", 0.12, 0.8135, 1000,
        recipe=results.recipe() | {"graph-steps": [{"quantize-dynamic": {}}]},
    )  # fmt: skip

    assert won(static("mse", 0.10, 0.8125), dynamic) == "static mse"


@pytest.mark.parametrize(
    "more", [{"within_budget": False}, {"path": None}, {"speedup_interval": (0.99, 1.2)}]
)
def test_what_misses_the_budget_or_is_not_surely_faster_cannot_win(more: dict[str, Any]) -> None:
    assert won(static("mse", 0.10, 0.8125, **more)) == "float32"


def test_a_faster_one_that_noise_explains_does_not_hide_a_slower_one_that_is_sure() -> None:
    lucky = static("mse", 0.10, 0.8133, speedup_interval=(0.99, 1.8))
    sure = results.measured(
        "bf16", "ort", 0.12, 0.8135, 1000,
        recipe=results.recipe() | {"graph-steps": [{"to-half": {}}]},
    )  # fmt: skip

    assert won(lucky, sure) == "bf16"


def test_finalists_are_the_fastest_of_each_kernel_and_few() -> None:
    many = [
        results.measured(
            f"without {i}", "ort", 0.10 + i / 100, 0.8133, 1000,
            recipe=results.recipe() | {"graph-steps": [{"quantize-static": {"exclude": [str(i)]}}]},
        )
        for i in range(9)
    ]  # fmt: skip

    assert [c.label for c in finalists(many)] == ["without 0", "without 1", "without 2"]


@pytest.mark.parametrize(
    ("speedup", "low", "noise_floor", "clear"),
    [
        (1.5, 1.25, 0.3, False),  # perhaps noise
        (1.5, 1.25, 0.1, True),  # faster
        (1.05, 0.9, 0.3, True),  # not by much, whatever it is
    ],
)
def test_what_noise_may_explain_is_not_clear_where_it_matters(
    speedup: float, low: float, noise_floor: float, clear: bool
) -> None:
    found = static("mse", 0.10, 0.8125, speedup_interval=(low, 2.0), noise_floor=noise_floor)

    assert is_clear([dataclasses.replace(found, speedup=speedup)]) is clear


@pytest.mark.parametrize(("left", "times"), [(100.0, [1.0, 4.0]), (15.0, [1.0]), (1.0, [])])
def test_finalists_are_timed_longer_while_noise_hides_a_gain_and_time_allows(
    left: float, times: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = static("mse", 0.10, 0.8125, speedup_interval=(1.2, 1.8), noise_floor=0.3)
    trials = types.SimpleNamespace(
        candidates={found.id: found}, trial=types.SimpleNamespace(progress=Silent())
    )
    asked: list[float] = []

    def confirm(_: object, finalists: list[Candidate], seconds: float) -> list[Candidate]:
        asked.append(seconds)
        return finalists

    monkeypatch.setattr(search, "confirm", confirm)
    limits = types.SimpleNamespace(left=left)

    assert search._final(cast("Any", trials), cast("Any", limits)) == [found]
    assert asked == times
