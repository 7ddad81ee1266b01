"""Whether what compress found still holds a gate: the answer that a pipeline waits for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.artifact import sha256
from gossamer.errors import OutputError, RecipeError
from gossamer.report.document import plain, read
from gossamer.result import SCHEMA_VERSION
from gossamer.search.goal import MaxDrop

if TYPE_CHECKING:
    from gossamer.result import Candidate, Result

Condition = dict[str, Any]


def check(
    out: str | Path, *, max_drop: str | None = None, min_speedup: float | None = None
) -> dict[str, Any]:
    """The `check --json` document; `holds` says whether every condition does.

    Nothing is measured: the numbers are those in `result.json`. The conditions are

    1. there is a winner;
    2. its drop on the search split is within the budget;
    3. the report split does not contradict that: the lower end of its 95 % interval is within the
       budget too, as for the verdict `met`;
    4. its speed-up reaches `min_speedup`, and where that is above 1, the whole 95 % interval lies
       above what noise alone could do;
    5. the files in `model/`, if they are there, are those that were measured.

    Args:
        out: Output folder of compress, or its result.json.
        max_drop: As for compress; None is the budget that compress was given.
        min_speedup: Times as fast as the fastest float32 model; None leaves speed out.

    Raises:
        OutputError: No such folder, or no result document in it.
        RecipeError: A limit that says nothing.
    """
    if min_speedup is not None and not 0 < min_speedup < float("inf"):
        raise RecipeError(
            "a speed-up above 0, like 1.5",
            repr(min_speedup),
            "Leave --min-speedup out where speed does not matter.",
        )
    budget = None if max_drop is None else MaxDrop.parse(max_drop)
    result = _result(Path(out))
    asked = max_drop or result.max_drop
    budget = budget or MaxDrop.parse(result.max_drop)
    conditions = _conditions(result, budget, asked, min_speedup)
    document: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "out": str(result.out),
            "holds": all(c["holds"] for c in conditions),
            "verdict": result.verdict,
            "max_drop": asked,
            "min_speedup": min_speedup,
            "winner": _told(result.winner),
            "conditions": conditions,
        }
    )
    return document


def lines(document: dict[str, Any]) -> list[str]:
    """The document for people: a line for each condition, and the answer."""
    told = [
        f"{'holds' if c['holds'] else 'FAILS':6} {c['name']}: needed {c['needed']}; "
        f"found {c['found']}"
        for c in document["conditions"]
    ]
    return [*told, "The gate holds." if document["holds"] else "The gate does not hold."]


def _result(given: Path) -> Result:
    path = given if given.is_file() else given / "result.json"
    if not path.is_file():
        what = "a folder without one" if given.is_dir() else "nothing there"
        raise OutputError(
            f"result.json in {given}",
            what,
            "Give the output folder of a compress that came to its end.",
        )
    return read(path, path.parent)


def _conditions(
    result: Result, budget: MaxDrop, asked: str, min_speedup: float | None
) -> list[Condition]:
    winner, baseline = result.winner, result.baseline
    if winner is None or baseline is None or baseline.score is None:
        return [_condition("winner", "a model that was chosen", result.reason, holds=False)]
    float_score = baseline.score
    drop = winner.drop
    found = [
        _condition(
            "search split",
            f"a drop of at most {asked} ({budget.allowed(float_score):.6g})",
            "none that is a number" if drop is None else f"{drop:.6g}",
            holds=drop is not None and budget.holds(drop, float_score),
        )
    ]
    if winner.report_interval is not None:
        float_score = float_score if baseline.report_score is None else baseline.report_score
        low, high = winner.report_interval
        found.append(
            _condition(
                "report split",
                f"a drop that can be {asked} ({budget.allowed(float_score):.6g})",
                f"{low:.6g} to {high:.6g}",
                holds=budget.holds(low, float_score),
            )
        )
    if min_speedup is not None:
        found.append(_speed(winner, min_speedup))
    return [*found, *_files(winner, result.out / "model")]


def _speed(winner: Candidate, least: float) -> Condition:
    speedup = winner.speedup or 0.0
    low, high = winner.speedup_interval or (speedup, speedup)
    is_sure = least <= 1 or low > 1 + (winner.noise_floor or 0.0)
    noise = "" if is_sure else ", which noise alone could give"
    return _condition(
        "speed",
        f"{least:g} times as fast as float32",
        f"{speedup:.3f} times [{low:.3f}, {high:.3f}]{noise}",
        holds=speedup >= least and is_sure,
    )


def _files(winner: Candidate, folder: Path) -> list[Condition]:
    if not folder.is_dir() or not winner.files:
        return []  # a pipeline may keep the document and leave the model elsewhere
    others = [
        name
        for name, digest in winner.files.items()
        if not (folder / name).is_file() or sha256(folder / name) != digest
    ]
    return [
        _condition(
            "files",
            "those that were measured",
            f"{', '.join(others)} changed or missing" if others else "the same",
            holds=not others,
        )
    ]


def _condition(name: str, needed: str, found: str, *, holds: bool) -> Condition:
    return {"name": name, "holds": holds, "needed": needed, "found": found}


def _told(winner: Candidate | None) -> dict[str, Any] | None:
    if winner is None:
        return None
    keys = (
        *("id", "label", "target", "score", "drop", "relative_drop", "report_score"),
        *("report_drop", "report_interval", "speedup", "speedup_interval", "noise_floor"),
    )
    return {key: getattr(winner, key) for key in keys}
