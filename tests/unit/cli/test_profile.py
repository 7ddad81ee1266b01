"""The command `profile`: what it prints, and where it keeps what it timed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer.cli.profile import cache_folder


def test_it_prints_a_table_of_what_it_kept(
    call: Callable[..., Any], model: Path, tmp_path: Path
) -> None:
    asked = ["profile", model, "--target", "ort-cpu", "--threads", 1, "--costs", tmp_path / "c"]

    first = call(*asked, "--json")
    again = call(*asked)

    (entry,) = first.document["targets"]
    assert (first.code, again.code) == (0, 0)
    assert entry["machine"]["threads"] == 1
    assert "timed in 0 s" in again.out
    assert all(row["kernel"] in again.out.replace("\\", "") for row in entry["kernels"])
    assert [p.suffix for p in (tmp_path / "c").iterdir()] == [".json"]


def test_a_model_that_is_not_there_writes_nothing(call: Callable[..., Any], tmp_path: Path) -> None:
    outcome = call("profile", tmp_path / "no.onnx", "--costs", tmp_path / "c", "--json")

    assert outcome.code == 2
    assert json.loads(outcome.out)["error"]["needed"]
    assert not (tmp_path / "c").exists()


def test_help_names_the_options(call: Callable[..., Any]) -> None:
    outcome = call("profile", "--help")
    assert outcome.code == 0
    assert all(option in outcome.out for option in ("--costs", "--target", "--threads", "--json"))


@pytest.mark.parametrize(
    ("set_to", "found"), [("/some/where", "/some/where"), ("", "~/.cache"), ("a/b", "~/.cache")]
)
def test_times_lie_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, set_to: str, found: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", set_to)
    assert cache_folder() == Path(found).expanduser() / "gossamer" / "costs"
