"""The command `check`: which results hold a gate, and with which exit code it says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gossamer
from gossamer.report import document
from gossamer.result import Result
from zoo import results

Call = Callable[..., Any]


def saved(folder: Path, result: Result) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(document.text(document.document(result)))
    return folder


def won_by(**changes: Any) -> Result:
    """A result whose winner differs from the usual one."""
    return results.sample(winner=replace(results.winner(), **changes))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Drop 0.0005 of 0.8135, report split -0.004 to 0.005; 2.9 times as fast as float32."""
    return saved(tmp_path / "out", results.sample())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 0),  # the budget that compress was given
        (("--max-drop", "0.1%"), 0),
        (("--max-drop", "0.05pt"), 0),
        (("--max-drop", "0.0004abs"), 1),
        (("--max-drop", "0%"), 1),
        (("--min-speedup", "2"), 0),
        (("--min-speedup", "3"), 1),
        (("--max-drop", "0%", "--min-speedup", "2"), 1),
        (("--max-drop", "1%", "--min-speedup", "2"), 0),
    ],
)
def test_the_exit_code_says_whether_the_gate_holds(
    arguments: tuple[str, ...], code: int, out: Path, call: Call
) -> None:
    done = call("check", out, *arguments)

    assert done.code == code, done.out
    assert ("The gate holds." in done.out) == (code == 0)
    assert call("check", out, *arguments, "--json").document["holds"] == (code == 0)


def test_the_document_says_what_was_needed_and_found(out: Path, call: Call) -> None:
    told = call("check", out, "--min-speedup", 9, "--json").document

    assert [c["name"] for c in told["conditions"]] == ["search split", "report split", "speed"]
    assert [c["holds"] for c in told["conditions"]] == [True, True, False]
    assert told["max_drop"] == "0.5%"
    assert told["winner"]["label"] == "static percentile"
    assert told == gossamer.check(out, min_speedup=9)


def test_a_report_split_that_contradicts_the_budget_fails(tmp_path: Path, call: Call) -> None:
    lossy = saved(tmp_path, won_by(report_drop=0.02, report_interval=(0.01, 0.03)))

    done = call("check", lossy, "--json")

    assert done.code == 1
    assert [c["name"] for c in done.document["conditions"] if not c["holds"]] == ["report split"]


def test_a_speed_up_that_noise_could_give_is_none(tmp_path: Path, call: Call) -> None:
    noisy = saved(tmp_path, won_by(speedup=1.6, speedup_interval=(0.9, 2.2)))

    assert call("check", noisy, "--min-speedup", 1.5).code == 1
    assert "noise" in call("check", noisy, "--min-speedup", 1.5).out
    assert call("check", noisy, "--min-speedup", 1).code == 0


def test_a_float_winner_holds_unless_speed_is_asked_for(tmp_path: Path, call: Call) -> None:
    out = saved(tmp_path, results.float_win())

    assert call("check", out).code == 0
    assert call("check", out, "--min-speedup", 1).code == 0
    assert call("check", out, "--min-speedup", 1.01).code == 1


@pytest.mark.parametrize("result", [results.best_effort(), results.failed()], ids=["best", "none"])
def test_what_did_not_meet_its_budget_does_not_hold(
    result: Result, tmp_path: Path, call: Call
) -> None:
    assert call("check", saved(tmp_path, result)).code == 1


def test_a_drop_that_is_no_number_does_not_hold(tmp_path: Path, call: Call) -> None:
    assert call("check", saved(tmp_path, won_by(drop=float("inf"))), "--max-drop", "99%").code == 1


def test_files_must_be_those_that_were_measured(finished: Path, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    assert call("check", out, "--max-drop", "5%").code == 0

    with (out / "model" / "model.onnx").open("ab") as file:
        file.write(b" ")

    done = call("check", out, "--max-drop", "5%")
    assert done.code == 1
    assert "model.onnx changed or missing" in done.out


@given(drop=st.floats(-0.1, 0.1), allowed=st.floats(0, 0.1))
def test_a_wider_budget_holds_what_a_narrower_one_does(
    tmp_path_factory: pytest.TempPathFactory, drop: float, allowed: float
) -> None:
    out = saved(tmp_path_factory.getbasetemp() / "gate", won_by(drop=drop, report_interval=None))

    holds = gossamer.check(out, max_drop=f"{allowed:.6f}abs")["holds"]
    wider = gossamer.check(out, max_drop=f"{allowed + 0.01:.6f}abs")["holds"]

    assert wider or not holds
    assert holds == (drop <= round(allowed, 6) + 1e-9)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "result.json"),
        ("", "JSON"),
        ("[]", "a JSON object"),
        ('{"schema_version": 7}', "schema_version 1"),
        ('{"schema_version": 1, "verdict": "met"}', "candidates"),
        ('{"schema_version": 1, "verdict": "failed", "error": {}}', "candidates"),
        ("\udcff", "JSON"),
    ],
)
def test_what_is_no_result_is_bad_input(
    content: str | None, said: str, tmp_path: Path, call: Call
) -> None:
    if content is not None:
        (tmp_path / "result.json").write_bytes(content.encode(errors="surrogateescape"))

    done = call("check", tmp_path)

    assert done.code == 2
    assert said in done.err
    assert call("check", tmp_path, "--json").document["error"]["needed"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--max-drop", "some"), "a drop like 1%"),
        (("--max-drop", "-1%"), "a drop like 1%"),
        (("--min-speedup", "0"), "above 0"),
        (("--min-speedup", "nan"), "above 0"),
        (("--min-speedup", "fast"), "--min-speedup"),
    ],
)
def test_limits_that_say_nothing_are_bad_input(
    arguments: tuple[str, ...], said: str, out: Path, call: Call
) -> None:
    done = call("check", out, *arguments)

    assert done.code == 2
    assert said in done.err


def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path, call: Call) -> None:
    assert call("check", tmp_path / "nowhere").code == 2


def test_the_document_itself_may_be_given(out: Path, call: Call) -> None:
    assert json.loads(call("check", out / "result.json", "--json").out)["holds"]
