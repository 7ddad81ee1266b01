"""Whether one benchmark is slower than another: a gate for pipelines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.bench import bench, installed
from gossamer.errors import DataError, RecipeError
from gossamer.report import bench_document
from gossamer.report.bench_document import KEYS, Row
from gossamer.report.document import plain
from gossamer.report.table import markdown_table
from gossamer.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from gossamer.report.table import Align

LOAD = ("instances", "cores_per_instance", "parallel", "rate", "arrivals")


def compare(
    old: str | Path,
    new: str | Path,
    *,
    max_slowdown: str = "5%",
    runtimes: Sequence[str] = (),
    **options: Any,
) -> dict[str, Any]:
    """The `bench --compare --json` document; `holds` says whether nothing became slower.

    Two models are timed in turns, on each runtime that runs both. Two documents of `bench --json`
    are compared row by row, by their ratios: each was measured against the first model of its own
    document, on its own day, so the speed of the machine on that day is not in them.

    A row is `slower` if it runs at less than 1 - `max_slowdown` of the old speed and the whole
    95 % interval lies below what noise alone could do; `unclear` if only the first is true. Rows
    of the old document that the new one lacks are `missing`. The gate holds if no row is slower
    or missing.

    Args:
        old: A model, or a document.
        new: The same kind.
        max_slowdown: Share of the speed that may be lost, as in `5%`.
        runtimes: As for bench.
        options: Further ones of bench; documents have theirs already.

    Raises:
        InputError: A model, a document or an option cannot be used, or nothing can be compared.
        GossamerError: A model could not be run.
    """
    allowed = share(max_slowdown)
    kinds = {Path(text).suffix == ".json" for text in (old, new)}
    if len(kinds) > 1:
        raise RecipeError(
            "two models, or two documents of bench --json",
            f"{old} and {new}",
            "Run bench with the new model and --json first, against the same first model.",
        )
    if kinds == {True}:
        rows = _between(_rows(old), _rows(new), allowed)
    else:
        rows = _in_turns(str(old), str(new), allowed, runtimes, options)
    document: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "old": str(old),
            "new": str(new),
            "max_slowdown": max_slowdown,
            "holds": all(row["answer"] in ("holds", "unclear") for row in rows),
            "rows": rows,
        }
    )
    return document


def _rows(path: str | Path) -> list[Row]:
    found: list[Row] = bench_document.read(Path(path))["rows"]
    return found


def share(text: str) -> float:
    """The share that `5%` says.

    Raises:
        RecipeError: Another form, or 100 % and more.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*%\s*", text)
    if not found or float(found[1]) >= 100:
        raise RecipeError(
            "a share of the speed like 5%",
            repr(text),
            "It is what NEW may be slower by, below 100%.",
        )
    return float(found[1]) / 100


def table(document: dict[str, Any]) -> str:
    """The rows for people, and the answer."""
    lines = []
    for row in document["rows"]:
        change = "–"
        if row["change"] is not None:
            low, high = row["change_interval"]
            change = f"{row['change']:.2f} [{low:.2f}, {high:.2f}]"
        load = row.get("load") or {}
        told = ", ".join(f"{k} {v}" for k, v in load.items() if v not in (None, False))
        cells = [str(row[key]) for key in KEYS]
        lines.append([*cells, told, change, row["answer"]])
    heads = [*KEYS, "load", "speed, new / old", "answer"]
    sides: tuple[Align, ...] = (*("left",) * 2, *("right",) * 2, "left", "right", "left")
    answer = "The gate holds." if document["holds"] else "The gate does not hold."
    return f"{markdown_table(heads, lines, sides)}\n{answer}"


def judged(change: float, interval: tuple[float, float], floor: float, allowed: float) -> str:
    """`holds`, `unclear` or `slower`, for a speed that is `change` times the old one."""
    if change >= 1 - allowed:
        return "holds"
    return "slower" if interval[1] < 1 - floor else "unclear"


def _in_turns(
    old: str, new: str, allowed: float, runtimes: Sequence[str], options: Mapping[str, Any]
) -> list[Row]:
    """Rows of the new model, against the old one on the same runtime."""
    found = []
    for runtime in runtimes or installed():
        rows = bench([old, new], runtimes=[runtime], **options)["rows"]
        if {row["model"] for row in rows} != {old, new}:
            continue  # one of the two has another runtime of its own
        for row in rows:
            if row["model"] == new:
                low, high = row["ratio_interval"]
                found.append(_answered(row, row["ratio"], (low, high), allowed))
    if not found:
        raise RecipeError(
            "a runtime that runs both models",
            f"{old} and {new}",
            "Give two models of one format, or name another --runtime.",
        )
    return found


def _between(old: list[Row], new: list[Row], allowed: float) -> list[Row]:
    """Rows of the old document, each against the one of the same name in the new."""
    if not old or not new or _name(old[0])[:2] != _name(new[0])[:2]:
        raise DataError(
            "documents whose ratios are against the same first model on the same runtime",
            " and ".join(
                f"{r[0]['model']} on {r[0]['runtime']}" if r else "none" for r in (old, new)
            ),
            "Run bench for both with the same first model.",
        )
    reference = _name(old[0])[:2]
    later = {_name(row): row for row in new}
    found = []
    for row in old:
        if _name(row)[:2] == reference:
            continue
        other = later.get(_name(row))
        if other is None:
            found.append({**_told(row), "answer": "missing"})
            continue
        (low, high), (low_now, high_now) = row["ratio_interval"], other["ratio_interval"]
        floor = max(row["noise_floor"], other["noise_floor"])
        found.append(
            _answered(
                {**row, "noise_floor": floor},
                other["ratio"] / row["ratio"],
                (low_now / high, high_now / low),
                allowed,
            )
        )
    if not found:
        raise DataError(
            "a second model in the documents",
            f"{reference[0]} alone",
            "Milliseconds of two days say little: give bench a first model to compare with.",
        )
    return found


def _answered(row: Row, change: float, interval: tuple[float, float], allowed: float) -> Row:
    floor = row["noise_floor"]
    return {
        **_told(row),
        "change": change,
        "change_interval": interval,
        "noise_floor": floor,
        "answer": judged(change, interval, floor, allowed),
    }


def _told(row: Row) -> Row:
    """What a row is called, without any number yet."""
    load = row.get("load")
    named = {key: row[key] for key in KEYS}
    named["load"] = None if load is None else {key: load.get(key) for key in LOAD}
    return {**named, "change": None, "change_interval": None, "noise_floor": row["noise_floor"]}


def _name(row: Row) -> tuple[Any, ...]:
    load = row.get("load") or {}
    return (*(row[key] for key in KEYS), *(load.get(key) for key in LOAD))
