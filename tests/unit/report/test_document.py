"""The JSON document: the contract's keys, numbers that JSON has, and the way back."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import DataError, MissingDependency, OutputError
from gossamer.report import document
from gossamer.result import Candidate, Result
from zoo.results import RESULTS, sample

TOP = {
    *("schema_version", "gossamer", "verdict", "reason", "model", "task", "max_drop"),
    *("environment", "calibration", "baseline", "winner", "candidates", "seconds"),
}
CANDIDATE = {
    *("id", "status", "reason", "runtime", "target", "recipe", "score", "drop"),
    *("relative_drop", "within_budget", "report_score", "report_drop", "report_interval"),
    *("latency_ms", "speedup", "speedup_interval", "same_runtime_speedup", "throughput"),
    *("size_bytes", "peak_rss_bytes", "path"),
}


def written(result: Result) -> Any:
    """What a reader of the file gets; NaN and Infinity are refused, as strict parsers do."""
    return json.loads(document.text(document.document(result)), parse_constant=pytest.fail)


@pytest.mark.parametrize("name", RESULTS)
def test_the_document_has_every_key_of_the_contract(name: str) -> None:
    plain = written(RESULTS[name]())

    assert set(plain) >= TOP
    assert plain["schema_version"] == 1
    for candidate in plain["candidates"]:
        assert set(candidate) >= CANDIDATE


def test_a_candidate_has_every_field_that_a_result_knows() -> None:
    plain = written(sample())

    assert set(plain["winner"]) == {f.name for f in fields(Candidate)}


@pytest.mark.parametrize("name", RESULTS)
def test_parsing_the_document_gives_the_result_back(name: str) -> None:
    result = RESULTS[name]()

    assert document.parse(written(result), result.out) == result


@given(
    number=st.floats() | st.none(),
    label=st.text(),
    ends=st.none() | st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
)
def test_any_number_and_name_survives_or_becomes_null(
    number: float | None, label: str, ends: tuple[float, float] | None
) -> None:
    label = label.encode("utf-8", "replace").decode()
    odd = replace(sample().candidates[0], score=number, label=label, speedup_interval=None)
    result = sample(candidates=(odd,))

    back = document.parse(written(result), result.out).candidates[0]

    assert back.label == label
    assert back.score == (number if number is not None and math.isfinite(number) else None)
    assert ends is None or json.loads(document.text({"ends": ends}))["ends"] == [
        end if math.isfinite(end) else None for end in ends
    ]


def test_numpy_numbers_are_written_as_numbers() -> None:
    plain = document.plain({"a": np.float32(0.5), "b": np.int64(3), "c": np.array([1, 2])})

    assert plain == {"a": 0.5, "b": 3, "c": [1, 2]}


def test_keys_that_nobody_knows_yet_are_ignored() -> None:
    plain = written(sample()) | {"new": 1}
    plain["winner"]["newer"] = 2

    assert document.parse(plain, Path("gossamer-out")) == sample()


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"schema_version": 2}, "schema_version 1"),
        ({"verdict": "great"}, "verdict to be one of met"),
        ({"candidates": None}, "a valid candidates"),
        ({"winner": 3}, "a JSON object for a candidate"),
        ({"winner": {"id": "a"}}, "a valid runtime|a valid target|a valid label"),
        ({"task": []}, "a JSON object for task"),
        ({"seconds": True}, "a valid seconds"),
    ],
)
def test_a_document_that_is_none_is_refused_with_a_reason(
    change: dict[str, Any], needed: str
) -> None:
    with pytest.raises(OutputError, match=needed):
        document.parse(written(sample()) | change, Path("gossamer-out"))


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"status": "maybe"}, "status to be one of"),
        ({"speedup_interval": [1]}, "two numbers for speedup_interval"),
        ({"score": "high"}, "a valid score"),
        ({"plan": [["a", "b"]]}, "four texts"),
        ({"plan": "none"}, "four texts"),
        ({"latency_ms": 3}, "a JSON object for latency_ms"),
    ],
)
def test_a_candidate_that_is_none_is_refused_with_a_reason(
    change: dict[str, Any], needed: str
) -> None:
    plain = written(sample())
    plain["candidates"][0] |= change

    with pytest.raises(OutputError, match=needed):
        document.parse(plain, Path("gossamer-out"))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_any_other_json_is_refused_and_never_crashes(value: object) -> None:
    with pytest.raises(OutputError):
        document.parse(value, Path("gossamer-out"))


def test_a_finished_folder_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(document.text(document.document(sample())), encoding="utf-8")

    assert document.read(path, Path("gossamer-out")) == sample()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_a_broken_file_names_itself(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(OutputError, match=r"result\.json"):
        document.read(path, tmp_path)


def test_an_error_is_written_with_its_three_parts() -> None:
    plain = document.error_document(DataError("labels", "none", "Give --columns."))

    assert plain == {
        "schema_version": 1,
        "verdict": "failed",
        "error": {
            "type": "DataError",
            "message": "needed labels; received none. Give --columns.",
            "needed": "labels",
            "received": "none",
            "hint": "Give --columns.",
        },
    }


@pytest.mark.parametrize(
    "error", [MissingDependency("openvino", "openvino", "the target"), KeyError("x"), OSError()]
)
def test_every_error_has_the_same_keys_and_says_something(error: Exception) -> None:
    parts = document.error_document(error)["error"]

    assert list(parts) == ["type", "message", "needed", "received", "hint"]
    assert parts["type"] == type(error).__name__
    assert parts["needed"]
    assert parts["received"]
    assert parts["hint"]
