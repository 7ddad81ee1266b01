"""The document of `bench --json`, read back."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from gossamer.errors import DataError
from gossamer.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]
KEYS = ("model", "runtime", "batch", "length")
NUMBERS = ("ratio", "noise_floor")


def read(path: Path) -> dict[str, Any]:
    """The document, of which every row says what it is, its ratio and the noise.

    Raises:
        DataError: It cannot be read, or is none of bench.
    """
    needed, hint = f"a document of bench --json at {path}", "Write it with: gossamer bench … --json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(needed, str(error), hint) from error
    version = found.get("schema_version") if isinstance(found, dict) else None
    rows = found.get("rows") if isinstance(found, dict) else None
    if version != SCHEMA_VERSION or not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise DataError(needed, f"another one, of schema_version {version!r}", hint)
    document: dict[str, Any] = found
    return document


def _is_row(row: object) -> bool:
    if not isinstance(row, dict) or not set(KEYS) <= set(row):
        return False
    ends = row.get("ratio_interval")
    numbers = [row.get(key) for key in NUMBERS]
    if not isinstance(ends, list) or len(ends) != 2 or not isinstance(row.get("load", {}), dict):
        return False
    if not all(isinstance(x, int | float) for x in (*numbers, *ends)):
        return False
    if not all(math.isfinite(x) and x > 0 for x in (row["ratio"], *ends)):
        return False
    return all(isinstance(row[key], str | int) for key in KEYS)
