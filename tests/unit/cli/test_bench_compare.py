"""`bench --compare`: what counts as slower, and with which exit code it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gossamer
from gossamer.compare import judged

Call = Callable[..., Any]


def row(model: str, ratio: float, **more: Any) -> dict[str, Any]:
    """A row whose ratio is known to 1 %."""
    ends = [ratio * 0.99, ratio * 1.01]
    named = {"model": model, "runtime": "ort", "batch": 1, "length": 128}
    return {**named, "ratio": ratio, "ratio_interval": ends, "noise_floor": 0.02, **more}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows behind those of a float model as a document."""

    def write(name: str, *rows: dict[str, Any]) -> Path:
        path = tmp_path / name
        found = [row("float", 1.0), *rows]
        path.write_text(json.dumps({"schema_version": 1, "environment": {}, "rows": found}))
        return path

    return write


@pytest.mark.parametrize(
    ("ratio", "more", "code", "answer"),
    [
        (2.0, {}, 0, "holds"),
        (3.0, {}, 0, "holds"),
        (1.92, {}, 0, "holds"),
        (1.8, {}, 1, "slower"),
        (1.8, {"ratio_interval": [1.5, 2.1]}, 0, "unclear"),
        (1.8, {"noise_floor": 0.2}, 0, "unclear"),
        (2.0, {"batch": 8}, 1, "missing"),
        (2.0, {"load": {"instances": 2}}, 1, "missing"),
    ],
)
def test_ratios_of_two_days_are_compared(
    ratio: float, more: dict[str, Any], code: int, answer: str, write: Any, call: Call
) -> None:
    old, new = write("old.json", row("int8", 2.0)), write("new.json", row("int8", ratio, **more))

    done = call("bench", "--compare", old, new, "--json")

    assert done.code == code, done.err
    assert [r["answer"] for r in done.document["rows"]] == [answer]
    assert done.document == gossamer.compare(old, new)
    assert answer in call("bench", "--compare", old, new).out


def test_what_may_be_lost_can_be_said(write: Any, call: Call) -> None:
    old, new = write("old.json", row("int8", 2.0)), write("new.json", row("int8", 1.8))

    assert call("bench", "--compare", old, new, "--max-slowdown", "15%").code == 0


def test_a_document_against_itself_holds(write: Any, call: Call) -> None:
    one = write("one.json", row("int8", 2.0), row("int8", 1.1, batch=8))

    assert call("bench", "--compare", one, one).code == 0


def test_models_are_timed_in_turns(model: Path, finished: Path, call: Call) -> None:
    done = call("bench", "--compare", model, finished, "--runtime", "ort", "--seconds", 0.01,
                "--max-slowdown", "99%", "--json")  # fmt: skip

    (found,) = done.document["rows"]
    assert done.code == 0, done.out
    assert (found["model"], found["runtime"]) == (str(finished), "ort")
    assert found["change_interval"][0] <= found["change_interval"][1]


@given(st.floats(0.01, 3), st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_only_what_is_beyond_the_limit_and_beyond_noise_is_slower(
    change: float, width: float, floor: float, allowed: float
) -> None:
    answer = judged(change, (change * (1 - width), change * (1 + width)), floor, allowed)

    assert (answer == "holds") == (change >= 1 - allowed)
    if answer == "slower":
        assert change * (1 + width) < 1 - floor


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "a document of bench"),
        ("[]", "a document of bench"),
        ('{"schema_version": 1, "rows": [{}]}', "a document of bench"),
        ('{"schema_version": 1, "rows": []}', "the same first model"),
        (json.dumps({"schema_version": 1, "rows": [row("float", 0)]}), "a document of bench"),
        (json.dumps({"schema_version": 1, "rows": [row("other", 1)]}), "the same first model"),
        (json.dumps({"schema_version": 1, "rows": [row("float", 1)]}), ""),
    ],
)
def test_documents_that_say_nothing_are_bad_input(
    content: str, said: str, tmp_path: Path, write: Any, call: Call
) -> None:
    other = tmp_path / "other.json"
    other.write_text(content)

    done = call("bench", "--compare", write("old.json", row("int8", 2.0)), other)

    assert done.code == (2 if said else 1)  # in the last one the row is missing
    assert said in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a.json", "b.onnx"), "two models, or two documents"),
        (("a.json",), "OLD and NEW"),
        (("a.json", "b.json", "c.json"), "OLD and NEW"),
        (("a.json", "b.json", "--max-slowdown", "5"), "like 5%"),
        (("a.json", "b.json", "--max-slowdown", "100%"), "like 5%"),
        (("a.json", "b.json"), "a.json"),
    ],
)
def test_arguments_that_do_not_go_together(
    arguments: tuple[str, ...], said: str, call: Call
) -> None:
    done = call("bench", "--compare", *arguments)

    assert done.code == 2
    assert said in done.err


def test_a_reference_alone_is_not_compared(write: Any, call: Call) -> None:
    alone = write("alone.json")

    done = call("bench", "--compare", alone, alone)

    assert done.code == 2
    assert "a second model" in done.err
