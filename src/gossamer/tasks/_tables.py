"""Rows of text from tsv, csv, jsonl and parquet files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gossamer import plugins
from gossamer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet")
NEEDED = "a table of texts and labels (tsv, csv, jsonl or parquet)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Cells as text, all rows of equal length.

    Attributes:
        header: Names of the columns, if the format has them apart from the rows; the first row
            of a tsv or csv may be a header or not.
    """

    path: Path
    rows: tuple[tuple[str, ...], ...]
    header: tuple[str, ...] | None = None


def read_table(path: Path) -> Table:
    """The rows of a file, blank lines left out.

    Raises:
        DataError: Not text in UTF-8, rows of unequal length, no rows, or not of its format.
        MissingDependency: parquet without pyarrow.
    """
    if path.is_dir():
        raise DataError(
            NEEDED,
            f"the folder {path}",
            "Name a file; or call the files train and test (or validation) and name the folder.",
        )
    if path.suffix.lower() == ".parquet":
        table = _from_parquet(path)
    else:
        text = _text(path)
        if path.suffix.lower() == ".jsonl":
            table = _from_records(path, _json_lines(path, text))
        else:
            rows = _tab_rows(path, text) if path.suffix.lower() == ".tsv" else _rows(path, text)
            table = Table(path=path, rows=rows)
    if not table.rows:
        raise DataError("at least one row", f"{path} without any", "Check --data.")
    return table


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        hint = "Convert it: iconv -f latin1 -t utf8."
        raise DataError("text in UTF-8", f"{path}: {error}", hint) from error
    except OSError as error:
        raise DataError("a readable file", f"{path}: {error}", "Check --data.") from error


def _tab_rows(path: Path, text: str) -> tuple[tuple[str, ...], ...]:
    """Cells between tabs.

    Quotes are mostly part of the text in tsv files (GLUE, MRPC), and quoted cells are rare: they
    are believed only if the rows fit together that way and not as they are.
    """
    # not splitlines: it also breaks at characters that may stand inside a sentence
    lines = text.replace("\r\n", "\n").split("\n")
    plain = tuple(tuple(line.split("\t")) for line in lines if line.strip())
    if len({len(row) for row in plain}) <= 1:
        return plain
    quoted = tuple(tuple(r) for r in _parsed(path, text, "\t", strict=False) if any(r))
    if len({len(row) for row in quoted}) == 1:
        return quoted
    return _even(path, plain)


def _rows(path: Path, text: str) -> tuple[tuple[str, ...], ...]:
    """Cells between commas, or between semicolons where commas separate nothing."""
    rows = tuple(tuple(r) for r in _parsed(path, text, ",", strict=True) if any(r))
    if {len(row) for row in rows} == {1} or len({len(row) for row in rows}) > 1:
        other = tuple(tuple(r) for r in _parsed(path, text, ";", strict=False) if any(r))
        widths = {len(row) for row in other}
        if len(widths) == 1 and widths != {1}:
            return other
    return _even(path, rows)


def _parsed(path: Path, text: str, delimiter: str, *, strict: bool) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    try:
        return list(reader)
    except csv.Error as error:
        raise DataError(
            "csv with quoted cells closed",
            f"{path}, line {reader.line_num}: {error}",
            "Repair the line, or save the file as tsv, where quotes are text.",
        ) from error


def _even(path: Path, rows: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{len(rows[0])} cells in every row, as in the first",
                f"{len(row)} in row {number} of {path}",
                "Quote cells that contain the separator, or repair the row.",
            )
    return rows


def _json_lines(path: Path, text: str) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            hint = 'Every line is one object like {"text": "…", "label": 1}.'
            raise DataError("JSON", f"{path}, line {number}: {error}", hint) from error
        if not isinstance(record, dict):
            raise DataError(
                "one JSON object per line",
                f"{type(record).__name__} in {path}, line {number}",
                'Every line is one object like {"text": "…", "label": 1}.',
            )
        records.append(record)
    return records


def _from_parquet(path: Path) -> Table:
    parquet = plugins.require("pyarrow.parquet", "hf", "reading parquet files")
    try:
        records = parquet.read_table(path).to_pylist()
    except (ValueError, OSError) as error:  # ArrowInvalid is a ValueError
        raise DataError("a parquet file", f"{path}: {error}", "Write it again.") from error
    return _from_records(path, records)


def _from_records(path: Path, records: Iterable[Mapping[str, Any]]) -> Table:
    records = list(records)
    header = tuple(dict.fromkeys(str(key) for record in records for key in record))
    rows = tuple(tuple(_cell(record.get(name)) for name in header) for record in records)
    return Table(path=path, rows=rows, header=header)


def _cell(value: object) -> str:
    """A value as text; lists and objects are no text and count as empty."""
    if value is None or isinstance(value, list | dict):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(value)
