"""The command `bench` under load: rows, tables, and options that do not go together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gossamer
from gossamer.measure import load as loading

Call = Callable[..., Any]
LOAD = {
    "instances", "cores_per_instance", "cpus", "parallel", "rate", "arrivals", "service_ms",
    "unanswered",
}  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "WINDOWS", 3)
    monkeypatch.setattr(loading, "CLOSED_WINDOW", 0.02)
    monkeypatch.setattr(loading, "OPEN_WINDOW", 0.02)


@pytest.mark.usefixtures("quick")
def test_an_instance_in_a_closed_loop_has_a_row(model: Path, call: Call) -> None:
    asked = ["bench", model, "--runtime", "ort", "--instances", 1, "--cores-per-instance", 1]

    done = call(*asked, "--seconds", 0.01, "--cold-starts", 1, "--json")

    (row,) = done.document["rows"]
    assert row["load"].keys() == LOAD
    assert (row["load"]["instances"], row["load"]["rate"]) == (1, None)
    assert [len(cpus) for cpus in row["load"]["cpus"]] == [1]
    assert row["cold_start_ms"]["n"] == 1
    assert row["ratio"] == 1


@pytest.mark.usefixtures("quick")
def test_every_rate_has_a_row_and_the_table_says_what_was_left(model: Path, call: Call) -> None:
    done = call("bench", model, "--runtime", "ort", "--rate", "400,800", "--seconds", 0.01)

    head, _, *rows = [line for line in done.out.splitlines() if line]
    assert done.code == 0, done.err
    assert [name.strip() for name in head.split("|")][5:10] == [
        "instances × cores", "rate", "median ms", "p99 ms", "service ms",
    ]  # fmt: skip
    assert [row.split("|")[6].strip() for row in rows] == ["400", "800"]


def test_operators_are_summed_by_type(model: Path, call: Call) -> None:
    asked = ["bench", model, "--runtime", "ort", "--seconds", 0.01, "--operators"]

    (told,) = call(*asked, "--json").document["operators"]
    text = call(*asked).out

    assert (told["model"], told["runtime"], told["batch"]) == (str(model), "ort", 1)
    assert sum(t["ms"] for t in told["types"]) == pytest.approx(told["total_ms"])
    assert all(
        t["share"] * told["total_ms"] == pytest.approx(t["ms"])
        for t in (*told["types"], *told["slowest"])
    )
    assert len(told["slowest"]) <= 10
    assert all(n["operator"] in {t["operator"] for t in told["types"]} for n in told["slowest"])
    assert all(t["operator"] in text for t in told["types"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--instances", "100000"), "--instances"),
        (("--cores-per-instance", "100000"), "cores"),
        (("--cores-per-instance", "1", "--threads", "1"), "--threads"),
        (("--rate", "fast"), "--rate"),
        (("--rate", "0"), "--rate"),
        (("--rate", "1,nan"), "--rate"),
        (("--rate", "1e9"), "--rate"),
        (("--rate", "1e-9"), "--rate"),
        (("--rate", "5", "--arrivals", "never"), "--arrivals"),
        (("--cold-starts", "-1"), "--cold-starts"),
    ],
)
def test_loads_that_cannot_be_are_bad_input(
    arguments: tuple[str, ...], said: str, model: Path, call: Call
) -> None:
    done = call("bench", model, *arguments)

    assert done.code == 2, done.err
    assert said in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arrivals": "never", "rate": "5"}, "poisson or fixed"),
        ({"cold_starts": -1}, "cold starts"),
    ],
)
def test_python_is_told_of_the_same(options: dict[str, Any], said: str, model: Path) -> None:
    with pytest.raises(gossamer.InputError, match=said):
        gossamer.bench([model], **options)
