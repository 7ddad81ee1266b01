"""What stands on the pages: distributions, curves, sites, facets."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.report import bench_page, curves, spread, sweep_page
from gossamer.report.formats.html import Html
from gossamer.result import Result
from zoo import benches, sweeps
from zoo.results import RESULTS, measured, sample, searched

HOSTILE = "<script>alert(1)</script>\x1b[31m|"


def distributions(result: Result) -> ET.Element:
    markup = spread.latencies(result)
    assert markup is not None
    return ET.fromstring(markup)


class Rows(HTMLParser):
    """The attributes of every row of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.found.append(dict(attrs))


def test_distributions_are_of_baseline_winner_and_the_fastest_others() -> None:
    rows = list(distributions(searched()).iter("tr"))[1:-1]

    assert len(rows) == spread.MOST
    assert sum("baseline" in "".join(r.itertext()) for r in rows) == 1
    assert sum("\u2605" in "".join(r.itertext()) for r in rows) == 1


def test_a_distribution_has_an_outline_and_its_median_p90_and_p99() -> None:
    first = next(distributions(sample()).iter("svg"))
    classes = [path.get("class") for path in first.iter("path")]

    assert classes == ["foot", "area", "edge", "median", "far", "far"]
    assert "p99 0.128 ms" in "".join(first.itertext())


def test_results_without_a_distribution_show_what_they_have() -> None:
    old = tuple(replace(c, latency_quantiles=()) for c in sample().candidates)
    classes = {p.get("class") for p in distributions(sample(candidates=old)).iter("path")}

    assert classes == {"foot", "median", "far"}
    assert spread.latencies(RESULTS["failed"]()) is None


def test_distributions_say_how_many_calls_and_how_much_noise() -> None:
    page = Html().render(sample())

    assert "Noise floor: 1.20 %." in page
    assert ">4096</td>" in page


@settings(max_examples=40)
@given(
    quantiles=st.lists(st.floats(0, 1e9), min_size=0, max_size=41)
    | st.lists(st.floats(1e-6, 10), min_size=4, max_size=41).map(sorted),
    told=st.fixed_dictionaries({k: st.floats(1e-6, 1e9) for k in ("median", "p90", "p99", "n")}),
)
def test_any_distribution_can_be_drawn(quantiles: list[float], told: dict[str, float]) -> None:
    odd = measured("odd", "ort", 1.0, 0.8, 1, latency_ms=told, latency_quantiles=tuple(quantiles))
    svg = distributions(sample(candidates=(odd,), winner=odd, baseline=odd))

    for path in svg.iter("path"):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+|nan|inf", path.get("d", ""))]
        assert all(abs(n) <= spread.WIDTH for n in numbers)


def test_sites_say_how_they_are_stored_and_what_they_do_alone() -> None:
    page = Html().render(sample())

    assert page.count("u8 per-tensor, weight s8 per-channel") == 19
    assert 'data-value="38.5"' in page
    assert "alone, dB" not in Html().render(sample(sensitivity={}))


def test_a_float_winner_leaves_what_each_site_would_have_done() -> None:
    page = Html().render(replace(RESULTS["float win"](), sensitivity={"/b": 30.0, "/a": 12.5}))

    assert page.index("<code>/a</code>") < page.index("<code>/b</code>")
    assert 'data-value="12.5"' in page


def test_candidates_can_be_filtered_by_runtime_budget_status_and_step() -> None:
    page = Html().render(sample())
    facets = [r for r in Rows(page).found if r.get("data-f3")]

    assert 'data-facets="runtime|budget|status|step"' in page
    assert {r["data-f1"] for r in facets} == {"", "within", "over"}
    assert {r["data-f2"] for r in facets} == {"measured", "failed", "skipped"}
    assert {r["data-f3"] for r in facets} == {"quantize-static", "none: float"}


def test_a_page_of_two_hundred_candidates_is_small() -> None:
    assert len(Html().render(searched(200)).encode()) < 1_000_000


def test_curves_are_over_lengths_for_every_batch_else_over_batches() -> None:
    both = bench_page.page(benches.sample())
    rows = [r for r in benches.sample()["rows"] if r["length"] == 32]
    batches = bench_page.page(benches.sample(rows=rows))
    single = bench_page.page(benches.sample(rows=rows[:1]))

    assert [both.count(f"{v}, batch {b}<") for v in ("latency", "Throughput") for b in (1, 8)] == [
        1
    ] * 4
    assert batches.count("<figure>") == 2
    assert "Latency and throughput by batch size" in batches
    assert "<figure>" not in single


def test_a_curve_has_a_mark_with_words_for_every_point() -> None:
    timed = [
        curves.Measured(name="a", batch=1, length=n, latency=n, throughput=1 / n) for n in (1, 9)
    ]
    markup = curves.curves(timed)
    assert markup is not None

    said = ["".join(t.itertext()) for t in ET.fromstring(markup).iter("title")]
    assert "a, batch 1, length 9: 9.00 ms, 0.111 samples per second" in said


def test_a_benchmark_under_load_with_operators_is_told_in_full() -> None:
    load = {
        "instances": 2,
        "cores_per_instance": 1,
        "rate": 50.0,
        "service_ms": 1.5,
        "unanswered": 3,
    }
    rows = [
        r | {"load": load, "cold_start_ms": {"median": 120.0}} for r in benches.sample()["rows"]
    ]
    entry = {"model": "a.onnx", "runtime": "ort", "batch": 1, "length": 32, "total_ms": 1.0}
    node = {"name": "/conv", "operator": "Conv", "kernel": "Conv", "ms": 0.5, "share": 0.5}
    operators = [
        {
            **entry,
            "types": [{"operator": "Conv", "nodes": 2, "ms": 0.5, "share": 0.5}],
            "slowest": [node],
        },
        {**entry, "types": [], "slowest": []},
    ]

    page = bench_page.page(benches.sample(rows=rows, operators=operators))

    for part in ("instances", "unanswered", "cold start, ms", "/conv", "50.00 %", "does not tell"):
        assert part in page
    assert "<figure>" not in page  # rows of several loads share a point


def test_a_benchmark_says_what_is_faster() -> None:
    first = [r for r in benches.sample()["rows"] if r["model"] == "float.onnx"][:1]

    assert (
        "int8.onnx on ort is 2.30 times as fast (batch 1, length 32, 95 %: 2.23 to 2.37)."
        in bench_page.page(benches.sample())
    )
    assert "Nothing is faster than float.onnx on ort by more" in bench_page.page(
        benches.sample(rows=first)
    )
    assert "Nothing was measured." in bench_page.page(benches.sample(rows=[]))


def test_a_sweep_that_gained_nothing_and_left_something_out_says_so() -> None:
    alone = sweeps.sample(settings=sweeps.sample().settings[:1], remarks=("no static",), command="")
    page = sweep_page.page(alone)

    assert "No setting is faster than float without a loss that is certain." in page
    assert "no static" in page
    assert "Reproduce" not in page


def hostile(value: Any) -> Any:
    """The same document with every text replaced."""
    if isinstance(value, dict):
        return {key: hostile(each) for key, each in value.items()}
    if isinstance(value, list):
        return [hostile(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("kind", ["bench", "sweep"])
def test_pages_hold_what_names_say_only_as_text(kind: str) -> None:
    first = sweeps.sample()
    odd = tuple(
        replace(s, values=dict.fromkeys(s.values, HOSTILE), reason=HOSTILE) for s in first.settings
    )
    page = {
        "bench": lambda: bench_page.page(hostile(benches.sample())),
        "sweep": lambda: sweep_page.page(
            replace(first, settings=odd, model={HOSTILE: HOSTILE}, command=HOSTILE)
        ),
    }[kind]()

    assert "<script>alert" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)" in page
