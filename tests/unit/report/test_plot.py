"""The accuracy-latency plot."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.report import front, plot, points, trade
from gossamer.report.axis import Axis
from gossamer.report.labels import Box, around, free_spot
from gossamer.report.symbols import SERIES, symbol
from gossamer.result import Result
from zoo.results import RESULTS, baseline, measured, sample, searched, winner


def drawn(result: Result, width: int = 1020, height: int = 440) -> ET.Element:
    svg = plot.accuracy_latency(result, width, height)
    assert svg is not None
    return ET.fromstring(svg)


def texts(result: Result) -> list[str]:
    return ["".join(t.itertext()) for t in drawn(result).iter("text")]


def test_every_measured_candidate_has_one_mark() -> None:
    assert len(drawn(sample()).findall("g")) == 9


def test_winner_baseline_and_budget_are_named() -> None:
    found = texts(sample())

    assert "\u2605 static percentile" in found
    assert "float32 (baseline)" in found
    assert "budget 0.5%: 0.8094" in found


def test_a_score_far_below_is_drawn_at_the_edge_with_its_number() -> None:
    assert "static per-tensor: 0.2400" in texts(sample())


def test_every_runtime_has_its_own_colour_and_is_in_the_legend() -> None:
    assert points.series(sample()) == {"openvino": 0, "ort": 1}
    assert {"openvino", "ort"} <= set(texts(sample()))


def faint(svg: ET.Element) -> set[str]:
    """The rows whose marks are fainter than others."""
    return {g.get("data-mark", "") for g in svg.findall("g") if g.get("class") == "beaten"}


def test_a_line_joins_what_is_not_beaten_and_the_rest_is_fainter() -> None:
    svg = drawn(sample())
    kept = {c.label for c in front.of_latency_and_score(sample(), points.measured(sample()))}

    assert kept == {"static per-tensor", "static percentile", "static min-max", "bf16"} - {"bf16"}
    assert len(svg.findall("path[@class='front']")) == 1
    assert len(faint(svg)) == 9 - len({*kept, "float32 (baseline)"})


def test_the_front_of_a_search_for_speed_and_score_is_its_own() -> None:
    best = winner()
    found = sample(objectives=("latency", "drop"), front=(best.id,))

    assert front.of_latency_and_score(found, points.measured(found)) == [best]
    assert front.planes(found) == []


def test_a_search_for_something_else_has_a_plot_of_it() -> None:
    found = searched()
    assert front.planes(found) == [("latency", "size")]
    svg = trade.plane(found, ("latency", "size"), 1020, 440)
    assert svg is not None
    root = ET.fromstring(svg)

    said = ["".join(t.itertext()) for t in root.iter("text")]
    assert any(text.startswith("size in MB") for text in said)
    assert {g.get("data-mark") for g in root.findall("g")} > faint(root)


@pytest.mark.parametrize(
    "wanted", ["maximize accuracy", "throughput", "peak-memory", "minimize f1"]
)
def test_any_two_objectives_make_a_plot_or_none(wanted: str) -> None:
    found = replace(searched(4), objectives=("size", wanted))
    (pair,) = front.planes(found)

    svg = trade.plane(found, pair, 360, 400)

    assert (svg is None) == (wanted == "minimize f1")


def test_names_that_were_cut_to_the_same_are_rows_instead() -> None:
    long = tuple(measured(f"{'x' * 40}{i}", "ort", 0.1 + i / 10, 0.81, 1) for i in range(3))

    assert not any("xxx" in text for text in texts(sample(candidates=long)))


def test_nothing_measured_is_no_plot() -> None:
    assert plot.accuracy_latency(RESULTS["failed"](), 100, 100) is None


def test_a_wide_spread_of_latency_is_drawn_in_logarithms() -> None:
    slow = measured("slow", "ort", 90.0, 0.81, 1)
    result = sample(candidates=(*sample().candidates, slow))

    assert any("logarithmic" in text for text in texts(result))


def test_better_is_up_where_lower_is_better() -> None:
    task = sample().task | {"metric": "error", "higher_is_better": False}
    good, bad = measured("good", "ort", 0.1, 0.8100, 1), measured("bad", "ort", 0.2, 0.8150, 1)
    result = sample(task=task, winner=good, candidates=(baseline(), good, bad))
    found = {"".join(t.itertext()): float(t.get("y", "nan")) for t in drawn(result).iter("text")}

    assert found["\u2605 good"] < found["bad"]


def test_labels_neither_cover_each_other_nor_leave_the_picture() -> None:
    crowd = tuple(measured(f"candidate {i}", "ort", 0.1 + i / 2000, 0.81, 1) for i in range(30))
    labels = [
        t for t in drawn(sample(candidates=crowd)).iter("text") if "label" in t.get("class", "")
    ]

    assert len(labels) < 30  # there is no room for all of them
    assert all(0 <= float(t.get("x", "nan")) <= 1020 for t in labels)


@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5),
    ms=st.floats(1e-4, 1e6),
    higher=st.booleans(),
    label=st.text(),
)
def test_any_measurement_can_be_drawn(
    scores: list[float], ms: float, higher: bool, label: str
) -> None:
    candidates = tuple(
        measured(f"{label}{i}", "ort", ms * (i + 1), score, 1) for i, score in enumerate(scores)
    )
    result = sample(
        candidates=candidates,
        winner=candidates[-1],
        baseline=candidates[0],
        task=sample().task | {"higher_is_better": higher},
    )
    for width, height in ((1020, 440), (360, 400)):
        for mark in drawn(result, width, height).iter("circle"):
            assert 0 <= float(mark.get("cx", "nan")) <= width
            assert 0 <= float(mark.get("cy", "nan")) <= height


@pytest.mark.parametrize("score", [math.nan, math.inf, None])
def test_a_score_that_is_no_number_is_not_drawn(score: Any) -> None:
    odd = replace(winner(), score=score)

    assert len(drawn(sample(candidates=(baseline(), odd))).findall("g")) == 1


@given(low=st.floats(-1e5, 1e5), span=st.floats(1e-5, 1e6), count=st.integers(3, 8))
def test_ticks_are_few_round_and_on_the_axis(low: float, span: float, count: int) -> None:
    axis = Axis(low=low, high=low + span, start=0, end=100)
    ticks = axis.ticks(count)

    assert len(ticks) <= count + 1
    assert all(-0.001 <= axis.pixel(value) <= 100.001 for value, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


def test_ticks_of_a_logarithmic_axis_are_round() -> None:
    axis = Axis(low=0.3, high=250, start=0, end=100, is_log=True)

    assert [text for _, text in axis.ticks(6)] == ["0.3", "1", "3", "10", "30", "100"]
    assert axis.pixel(0.3) == 0
    assert axis.pixel(250) == 100


def test_shapes_differ_from_runtime_to_runtime() -> None:
    assert len({str(symbol(i, 5, 5)).replace(f"s{i}", "") for i in range(SERIES)}) == SERIES


def test_a_label_with_no_room_has_no_place() -> None:
    area = Box(left=0, top=0, right=100, bottom=40)

    assert free_spot("name", (20, 20), [around(20, 20)], area) is not None
    assert free_spot("name", (20, 20), [around(20, 20), area], area) is None
    assert free_spot("a name that is too long", (20, 20), [], area) is None
