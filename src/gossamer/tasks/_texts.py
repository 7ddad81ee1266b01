"""Labelled texts of one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import DataError
from gossamer.tasks._columns import Columns, find_columns, is_number
from gossamer.tasks._labels import check_variety, number_classes
from gossamer.tasks._tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.source import FloatModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """One row: a text, perhaps its pair, and the label as written."""

    text: str
    pair: str | None
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFile:
    """The rows of a file, and the columns they were read from."""

    path: Path
    columns: Columns
    texts: tuple[Text, ...]


def read_texts(path: Path, asked: dict[str, str] | None) -> TextFile:
    """The labelled texts of a file.

    Raises:
        DataError: See `read_table` and `find_columns`; or a column without any text.
    """
    table = read_table(path)
    columns = find_columns(table, asked)
    texts = tuple(
        Text(
            text=row[columns.text].strip(),
            pair=None if columns.pair is None else row[columns.pair].strip(),
            label=row[columns.label].strip(),
        )
        for row in table.rows[columns.skip :]
    )
    if not any(row.text for row in texts):
        raise DataError(
            "text in the column of texts",
            f"nothing but empty cells in column {columns.text} of {path}",
            "Lists and objects are no text; choose with --columns text=…,label=….",
        )
    return TextFile(path=path, columns=columns, texts=texts)


def number_labels(
    files: tuple[TextFile, ...], model: FloatModel, *, numeric: bool
) -> dict[str, float] | dict[str, int]:
    """What each label, as written, stands for.

    Raises:
        DataError: Empty, negative or fractional labels, one label only, or, if they must be
            `numeric`, labels that are no numbers.
    """
    for file in files:
        for place, row in enumerate(file.texts, 1):
            if not row.label or (numeric and not is_number(row.label)):
                raise DataError(
                    f"a {'number' if numeric else 'label'} in every row",
                    f"{row.label!r} in row {place} of {file.path}",
                    "Repair the row, or choose the columns with --columns.",
                )
        check_variety([row.label for row in file.texts], file.path)
    names = {row.label for file in files for row in file.texts}
    if numeric:
        return {name: float(name) for name in names}
    for name in names:
        if is_number(name) and (float(name) < 0 or float(name) % 1):
            raise DataError(
                "labels that name classes",
                f"the label {name}",
                "-1 marks rows without a label. For labels on a scale use --metric spearman.",
            )
    return number_classes(names, model, folders=False)
