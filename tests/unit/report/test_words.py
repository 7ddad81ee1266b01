"""Numbers and verdicts as people read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gossamer.report import words
from zoo.results import RESULTS, baseline, best_effort, float_win, sample, winner


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0980, "0.0980"), (1.139, "1.14"), (12.94, "12.9"), (115.2, "115"), (0, "0")],
)
def test_milliseconds_have_three_digits(value: float, text: str) -> None:
    assert words.milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\u2013"), (999, "999 B"), (291_000, "291 kB"), (1_091_000, "1.09 MB"), (2e9, "2 GB")],
)
def test_sizes_have_decimal_units(value: float | None, text: str) -> None:
    assert words.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.02, "20 ms"), (1.31, "1.3 s"), (42.4, "42 s"), (97.3, "1 min 37 s")),
        *((600, "10 min"), (7500, "2 h 05 min"), (float("nan"), "\u2013")),
    ],
)
def test_durations_read_like_a_clock(value: float, text: str) -> None:
    assert words.duration(value) == text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_a_dash(value: float | None) -> None:
    for text in (words.milliseconds, words.number, words.percent, words.times, words.size):
        assert text(value) == words.NOTHING


def test_a_tiny_gain_is_not_minus_zero() -> None:
    candidate = replace(winner(), drop=-1e-9, relative_drop=-1e-9)

    assert words.drop(candidate) == "0.0000 (0.00 %)"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("met", "2.9\u00d7 faster than the best float model on this machine"),
        ("float win", "Nothing faster than the float model was found within the budget"),
        ("best effort", "Budget not met: best effort, 2.9\u00d7 faster than the best float model"),
        ("failed", "No model came out of this run"),
    ],
)
def test_the_headline_is_the_verdict(name: str, text: str) -> None:
    assert words.headline(RESULTS[name]()) == text


@pytest.mark.parametrize(
    ("speedup", "text"),
    [
        *((1.2, "1.20\u00d7 faster than"), (1.01, "as fast as"), (0.5, "2.00\u00d7 slower than")),
        (None, "not compared in speed with"),
    ],
)
def test_speed_is_said_honestly(speedup: float | None, text: str) -> None:
    assert words.speed_words(speedup) == text


def test_the_report_split_speaks_where_it_was_scored() -> None:
    assert words.verdict_score(sample()) == (
        "accuracy 0.8125 vs 0.8130 (drop 0.05 points, budget 0.5%) "
        "on samples that the search never saw"
    )


def test_the_search_split_speaks_where_nothing_else_was_scored() -> None:
    result = sample(winner=replace(winner(), report_score=None))

    assert words.verdict_score(result).endswith("on the search split")


def test_a_gain_is_called_a_gain() -> None:
    assert words.drop_words(sample(), -0.0015) == "gain 0.15 points"


def test_scores_that_are_no_fractions_have_no_points() -> None:
    task = sample().task | {"metric": "perplexity", "higher_is_better": False}
    result = sample(baseline=replace(baseline(), score=18.25), task=task)

    assert words.drop_words(result, 0.31) == "drop 0.31"


@pytest.mark.parametrize(
    ("budget", "higher", "limit"),
    [
        *(("1%", True, 0.8135 * 0.99), ("0.5pt", True, 0.8085), ("0.3abs", True, 0.5135)),
        *(("1%", False, 0.8135 * 1.01), ("0.3abs", False, 1.1135), ("soon", True, None)),
        *(("x%", True, None), ("inf%", True, None)),
    ],
)
def test_the_worst_allowed_score_follows_from_the_budget(
    budget: str, higher: bool, limit: float | None
) -> None:
    task = sample().task | {"higher_is_better": higher}
    expected = limit if limit is None else pytest.approx(limit)

    assert words.limit_score(sample(max_drop=budget, task=task)) == expected


def test_candidates_stand_in_order_of_latency_with_failures_last() -> None:
    labels = [c.label for c in words.by_latency(sample().candidates)]

    assert labels[:2] == ["static per-tensor", "static percentile"]
    assert labels[-2:] == ["int8 head", "static mse"]


def test_every_candidate_says_what_became_of_it() -> None:
    result = sample()
    said = {
        c.label + c.runtime: words.status(c, result.winner, result.baseline)
        for c in result.candidates
    }

    assert said["static percentileort"] == "winner"
    assert said["float32openvino"] == "baseline"
    assert said["static per-tensorort"] == "over budget"
    assert said["static mseopenvino"].startswith("failed: needed a graph")
    assert said["int8 headort"] == "skipped: the time was up"


def test_a_best_effort_is_not_called_a_winner() -> None:
    result = best_effort()
    assert result.winner is not None

    said = words.status(result.winner, result.winner, result.baseline)
    assert said == "best effort, over budget"


def test_a_float_winner_is_winner_and_baseline() -> None:
    result = float_win()
    assert result.winner is not None

    assert words.status(result.winner, result.winner, result.baseline) == "winner, baseline"


@pytest.mark.parametrize("target", ["ort-cpu", "openvino-cpu"])
@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("portable", "every CPU (avx2, avx512, vnni, amx, neon, dotprod)"),
        ("avx2", "every CPU (avx2, avx512, vnni, amx, neon, dotprod)"),
        ("vnni", "CPUs that have vnni or amx or neon or dotprod"),
        ("neon", "CPUs that have vnni or amx or neon or dotprod"),
    ],
)
def test_the_cpu_levels_that_a_file_is_safe_on_are_listed(
    target: str, level: str, told: str
) -> None:
    candidate = replace(winner(), target=target, recipe=winner().recipe | {"cpu": level})

    assert words.cpu_words(candidate) == told


def test_the_cpu_level_of_a_target_that_is_not_here_is_told_as_it_is() -> None:
    candidate = replace(winner(), target="gone", recipe=winner().recipe | {"cpu": "vnni"})

    assert words.cpu_words(candidate) == "CPUs that have vnni"


def test_on_a_gpu_every_cpu_is_right_and_what_is_unproven_is_told() -> None:
    candidate = replace(winner(), target="tensorrt", runtime="tensorrt")

    assert words.cpu_words(candidate).startswith("NVIDIA GPUs")
    assert "not measured on a GPU" in words.unproven(candidate)
    assert words.unproven(winner()) == ""


def test_a_target_that_is_no_longer_installed_is_not_looked_into() -> None:
    candidate = replace(winner(), target="of-a-package-that-is-gone")

    assert words.unproven(candidate) == ""
    assert "every CPU" in words.cpu_words(candidate)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *(({"origin": "a/b/net.onnx"}, "net.onnx"), ({"origin": "a/b/"}, "b"), ({}, "model")),
        ({"name": "resnet", "origin": "x"}, "resnet"),
    ],
)
def test_a_model_is_called_by_its_shortest_name(model: dict[str, Any], name: str) -> None:
    assert words.model_name(sample(model=model)) == name


def test_the_rerun_command_survives_a_shell() -> None:
    assert words.rerun(sample(out=sample().out / "my model")) == (
        "gossamer run 'gossamer-out/my model/recipe.yaml'"
    )
