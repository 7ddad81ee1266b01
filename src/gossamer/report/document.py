"""A Result as the JSON document of the contract, and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gossamer.errors import GossamerError, OutputError
from gossamer.result import EXIT_CODES, SCHEMA_VERSION, Candidate, Result

if TYPE_CHECKING:
    from pathlib import Path

RERUN = "Remove the output folder, or run again with --overwrite."
STATUSES = ("ok", "failed", "skipped")
PAIRS = ("report_interval", "speedup_interval", "drop_interval")
NUMBERS = (
    "score",
    "drop",
    "relative_drop",
    "changed",
    "report_score",
    "report_drop",
    "speedup",
    "same_runtime_speedup",
    "noise_floor",
    "throughput",
    "size_bytes",
    "peak_rss_bytes",
)
CANDIDATE_KEYS = (
    "id",
    "status",
    "reason",
    "runtime",
    "target",
    "recipe",
    "score",
    "drop",
    "relative_drop",
    "within_budget",
    "report_score",
    "report_drop",
    "report_interval",
    "latency_ms",
    "speedup",
    "speedup_interval",
    "same_runtime_speedup",
    "throughput",
    "size_bytes",
    "peak_rss_bytes",
    "path",
)


def document(result: Result) -> dict[str, Any]:
    """The JSON document of a result: the contract's keys in its order, then our additions.

    Numbers that are no numbers (NaN, infinity) become null, so that every JSON parser reads it.
    """
    written: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "gossamer": _version(),
            "verdict": result.verdict,
            "reason": result.reason,
            "model": result.model,
            "task": result.task,
            "max_drop": result.max_drop,
            "environment": result.environment,
            "calibration": result.calibration,
            "baseline": _candidate(result.baseline),
            "winner": _candidate(result.winner),
            "candidates": [_candidate(c) for c in result.candidates],
            "seconds": result.seconds,
            "command": result.command,
            "placement": result.placement,
            "objectives": result.objectives,
            "front": result.front,
            "batch": result.batch,
            "length": result.length,
            "sensitivity": result.sensitivity,
        }
    )
    return written


def error_document(error: BaseException) -> dict[str, Any]:
    """The JSON document of a run that ended with an error (exit codes 2 and 3)."""
    if isinstance(error, GossamerError):
        needed, received, hint = error.needed, error.received, error.hint
    else:
        needed = "to finish without an unexpected error"
        received = f"{type(error).__name__}: {error}"
        hint = "This is a fault of gossamer or of a library below it; --resume keeps what exists."
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": "failed",
        "error": {
            "type": type(error).__name__,
            "message": str(error),
            "needed": needed,
            "received": received,
            "hint": hint,
        },
    }


def text(value: Mapping[str, Any]) -> str:
    """A document as JSON text that ends with a newline."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """`value` as JSON can say it: lists for tuples, numbers for numpy's, null for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def read(path: Path, out: Path) -> Result:
    """The result that a `result.json` describes.

    Args:
        path: The file.
        out: The output folder it belongs to.

    Raises:
        OutputError: The file cannot be read, or is not the document of a result.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"a readable JSON document at {path}", str(error), RERUN) from error
    return parse(value, out)


def parse(value: object, out: Path) -> Result:
    """The result that a document describes; keys that we do not know are ignored.

    Raises:
        OutputError: Not the document of a result, or one of another schema version.
    """
    top = _mapping(value, "the result document")
    if top.get("schema_version") != SCHEMA_VERSION:
        raise OutputError(
            f"schema_version {SCHEMA_VERSION} in the result document",
            repr(top.get("schema_version"))[:80],
            RERUN,
        )
    candidates = _get(top, "candidates", list)
    calibration = top.get("calibration")
    return Result(
        out=out,
        verdict=_one_of(top, "verdict", tuple(EXIT_CODES)),
        reason=_get(top, "reason", str),
        model=_mapping(top.get("model"), "model"),
        task=_mapping(top.get("task"), "task"),
        max_drop=_get(top, "max_drop", str),
        environment=_mapping(top.get("environment"), "environment"),
        calibration=None if calibration is None else _mapping(calibration, "calibration"),
        baseline=_parse_candidate(top.get("baseline")),
        winner=_parse_candidate(top.get("winner")),
        candidates=tuple(c for c in map(_parse_candidate, candidates) if c is not None),
        seconds=float(_get(top, "seconds", (int, float))),
        command=str(top.get("command", "")),
        placement=_parse_placement(top.get("placement")),
        objectives=tuple(map(str, top.get("objectives", ()))),
        front=tuple(map(str, top.get("front", ()))),
        batch=_count(top, "batch"),
        length=_count(top, "length"),
        sensitivity=_numbers_by_name(top.get("sensitivity", {})),
    )


def _version() -> str:
    from importlib.metadata import version

    return version("gossamer")


def _candidate(candidate: Candidate | None) -> dict[str, Any] | None:
    if candidate is None:
        return None
    # shallow on purpose: dataclasses.asdict would copy every plan row and rebuild every dict
    fields = {f.name: getattr(candidate, f.name) for f in dataclasses.fields(candidate)}
    return {name: fields.pop(name) for name in CANDIDATE_KEYS} | fields


def _parse_candidate(value: object) -> Candidate | None:
    if value is None:
        return None
    entry = _mapping(value, "a candidate")
    known = {f.name for f in dataclasses.fields(Candidate)}
    fields = {name: entry[name] for name in known if name in entry}
    for name in ("id", "runtime", "target", "label"):
        fields[name] = _get(entry, name, str)
    fields["status"] = _one_of(entry, "status", STATUSES)
    for name in ("recipe", "metrics", "files"):
        fields[name] = _mapping(entry.get(name, {}), name)
    if entry.get("latency_ms") is not None:
        fields["latency_ms"] = _mapping(entry["latency_ms"], "latency_ms")
    for name in NUMBERS:
        if fields.get(name) is not None:
            fields[name] = _get(entry, name, (int, float))
    for name in PAIRS:
        fields[name] = _pair(entry.get(name), name)
    fields["plan"] = _plan(entry.get("plan", []))
    fields["storage"] = tuple(_list_of(entry, "storage", str))
    fields["latency_quantiles"] = tuple(_list_of(entry, "latency_quantiles", (int, float)))
    return Candidate(**fields)


def _parse_placement(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    entry = _mapping(value, "placement")
    for name in ("uniform", "mixed"):
        _get(entry, name, str)
    for name in ("speedup", "noise_floor"):
        _get(entry, name, (int, float))
    _pair(entry.get("speedup_interval"), "speedup_interval")
    return entry


def _pair(value: object, name: str) -> tuple[float, float] | None:
    if value is None:
        return None
    ends = value if isinstance(value, list) else []
    if len(ends) != 2 or not all(isinstance(e, int | float) for e in ends):
        raise OutputError(f"two numbers for {name} of a candidate", repr(value)[:80], RERUN)
    return ends[0], ends[1]


def _plan(value: object) -> tuple[tuple[str, str, str, str], ...]:
    rows = []
    for row in value if isinstance(value, list) else [value]:
        if not isinstance(row, list) or len(row) != 4 or not all(isinstance(c, str) for c in row):
            raise OutputError("four texts in each row of a plan", repr(row)[:80], RERUN)
        rows.append((row[0], row[1], row[2], row[3]))
    return tuple(rows)


def _list_of(entry: Mapping[str, Any], key: str, kind: Any) -> list[Any]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
        raise OutputError(f"a valid {key} of a candidate", repr(value)[:80], RERUN)
    return value


def _numbers_by_name(value: object) -> dict[str, float]:
    entry = _mapping(value, "sensitivity")
    return {name: _get(entry, name, (int, float)) for name in entry}


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OutputError(f"a JSON object for {where}", repr(value)[:80], RERUN)
    return value


def _get(entry: Mapping[str, Any], key: str, kind: Any) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise OutputError(f"a valid {key} in the result document", repr(value)[:80], RERUN)
    return value


def _count(entry: Mapping[str, Any], key: str) -> int | None:
    return None if entry.get(key) is None else int(_get(entry, key, int))


def _one_of(entry: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    value = entry.get(key)
    if value not in allowed:
        raise OutputError(f"{key} to be one of {', '.join(allowed)}", repr(value)[:80], RERUN)
    return value
