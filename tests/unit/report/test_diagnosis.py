"""A diagnosis on paper: the page and the lines of a terminal."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from gossamer.diagnosis import MOST_DB, Diagnosis, Histogram, SiteDiagnosis, Tensor, decibel
from gossamer.report import diagnosis as lines
from gossamer.report.diagnosis_page import page
from gossamer.result import Candidate

HOSTILE = "<script>alert(1)</script>\x1b[31m"
TENSOR = Tensor(
    name=HOSTILE, kind="activation", low=-1.0, high=3.0, range_low=-0.5, range_high=2.0,
    clipped=0.04, used=1.0, bulk=0.5, steps=256, most_steps=256, sqnr_db=12.0,
    histogram=Histogram(low=-1.0, high=3.0, real=(0.5, 0.4, 0.1, 0.0), stored=(0.5, 0.5, 0, 0)),
)  # fmt: skip
SITE = SiteDiagnosis(
    site=HOSTILE, op="Conv", finding="activation x: clipped 4 % of values", alone_db=12.3,
    output_db=9.0, accumulated_db=None, without_score=0.9, without_db=20.0, tensors=(TENSOR,),
)  # fmt: skip
CURE = Candidate(
    id="abc", status="ok", runtime="ort", target="ort-cpu", label="static mse", recipe={},
    score=0.95, drop=0.01, metrics={"outputs_sqnr_db": 30.0}, within_budget=True,
)  # fmt: skip
FAILED = replace(CURE, id="def", status="failed", reason="no kernel", score=None, drop=None)
FOUND = Diagnosis(
    out=Path("out"), outcome="cured", model="a.onnx", quantized="folder/b.onnx", target="ort-cpu",
    cpu="portable", max_drop="1%", float_score=0.96, score=0.5, drop=0.46, sqnr_db=2.0,
    task={"name": "classification", "metric": "accuracy", "rows": 8, "synthetic": False},
    sites=(SITE,) * 12, unmatched=("somewhere",), cures=(CURE, FAILED), cure=CURE,
    report={"rows": 9, "float": 0.9, "given": 0.4, "cured": 0.89, "drop": 0.01,
            "interval": [0.0, 0.02]},
)  # fmt: skip


def test_the_page_holds_what_names_say_only_as_text() -> None:
    text = page(FOUND)

    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_page_draws_operands_with_the_ends_of_their_range() -> None:
    text = page(FOUND)

    assert text.count("<figure>") == 6
    assert text.count('class="limit"') == 2 * 6
    assert "2 more sites" in text
    assert "clipped 4.00 %" in text


def test_a_page_without_cures_or_operands_is_shorter() -> None:
    bare = replace(SITE, tensors=())
    text = page(replace(FOUND, outcome="healthy", sites=(bare,), cures=(), cure=None, report={}))

    assert "Nothing to cure" in text
    assert "Cures tried" not in text
    assert "<svg" not in text


def test_lines_say_every_cure_the_outcome_and_the_next_command() -> None:
    told = "\n".join(lines.lines(FOUND))

    assert "and 4 sites that do less." in told
    assert "static mse: 0.9500 (30.0 dB), within the budget" in told
    assert "static mse: failed: no kernel" in told
    assert "Cured: static mse, score 0.9500." in told
    assert "On 9 rows that no choice saw: float 0.9000, given 0.4000, cured 0.8900" in told
    assert "The float model does not have 1 of the values: somewhere." in told
    assert "gossamer run out/recipe.yaml --out cured" in told
    assert "\x1b" not in told


def test_a_terminal_gets_a_table() -> None:
    file = io.StringIO()

    lines.show(FOUND, Console(file=file, force_terminal=True, width=140, color_system=None))

    assert "finding" in file.getvalue()
    assert "Cured: static mse" in file.getvalue()


def test_outcomes_that_are_no_cure_say_so() -> None:
    best = replace(FOUND, outcome="not cured")

    assert lines.headline(best) == (
        "Not cured: the best was static mse, score 0.9500, not within the budget."
    )
    assert lines.headline(replace(best, cure=None)) == "No cure could be built."
    assert (best.exit_code, FOUND.exit_code) == (1, 0)


def test_the_document_has_no_number_that_json_lacks() -> None:
    found = json.loads(lines.text(replace(FOUND, sqnr_db=float("inf"))))

    assert found["sqnr_db"] is None
    assert found["sites"][0]["tensors"][0]["clipped"] == 0.04


def test_noise_that_is_nothing_or_everything_stays_a_number() -> None:
    assert decibel(1.0, 0.0) == MOST_DB
    assert decibel(0.0, 1.0) == decibel(1.0, float("nan")) == -MOST_DB
