"""A diagnosis on paper: the page and the lines of a terminal."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from gossamer.diagnosis import MOST_DB, decibel
from gossamer.report import diagnosis as lines
from gossamer.report.diagnosis_page import page
from zoo import diagnoses

HOSTILE = "<script>alert(1)</script>\x1b[31m"
TENSOR = replace(diagnoses.TENSOR, name=HOSTILE)
SITE = replace(
    diagnoses.SITE, site=HOSTILE, finding="activation x: clipped 4 % of values", tensors=(TENSOR,)
)
FOUND = diagnoses.sample(sites=(SITE,) * 12)


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
