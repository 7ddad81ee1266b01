"""Which columns of a table hold the text, its pair and the label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer import plugins
from gossamer.errors import DataError, RecipeError

if TYPE_CHECKING:
    from gossamer.tasks._tables import Table

LABEL_NAMES = (
    *("label", "labels", "gold_label", "quality", "score", "similarity", "target", "class"),
    *("category", "sentiment", "is_duplicate", "answer_key", "answerkey", "rating", "stars"),
)
PAIR_NAMES = (
    *(("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("1_string", "2_string")),
    *(("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b")),
    *(("text1", "text2"), ("question", "sentence"), ("question", "passage"), ("text", "pair")),
    *(("query", "passage"), ("source", "target")),
)
TEXT_NAMES = (
    *("text", "sentence", "review", "content", "comment", "question", "title", "tweet", "body"),
    *("message", "utterance", "document", "sentence1"),
)
_NAMES = {*LABEL_NAMES, *TEXT_NAMES, *(name for pair in PAIR_NAMES for name in pair)}
ROLES = ("text", "pair", "label")
HINT = "Name them: --columns text=0,pair=1,label=2, by name or index."


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Places of text, pair and label in a row.

    Attributes:
        header: Names of the columns, if the file has them.
        skip: Rows at the top that are a header.
    """

    text: int
    label: int
    pair: int | None = None
    header: tuple[str, ...] | None = None
    skip: int = 0

    def describe(self) -> str:
        """The choice in one line, as `--columns` takes it."""
        chosen = {"text": self.text, "pair": self.pair, "label": self.label}
        return ",".join(
            f"{role}={self.header[i] if self.header else i}"
            for role, i in chosen.items()
            if i is not None
        )


def asked_columns(text: str) -> dict[str, str]:
    """Column by role from `text=0,pair=1,label=2`.

    Raises:
        RecipeError: Another form, a role that does not exist, or no text or label.
    """
    asked = {}
    for part in text.split(","):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column:
            raise RecipeError("columns like text=0,pair=1,label=2", repr(text), HINT)
        if role not in ROLES:
            raise plugins.unknown("a role of a column", role, ROLES)
        asked[role] = column
    if "text" not in asked or "label" not in asked:
        raise RecipeError("a column for text and one for label", repr(text), HINT)
    return asked


def find_columns(table: Table, asked: dict[str, str] | None) -> Columns:
    """The columns that were asked for; else those that names or contents give away.

    Raises:
        DataError: A column that is not there, or several that could be meant.
    """
    header, skip = table.header, 0
    if header is None and _is_header(table.rows, asked):
        header, skip = tuple(cell.strip() for cell in table.rows[0]), 1
    rows = table.rows[skip:]
    if not rows:
        raise DataError(
            "rows below the header", f"{table.path} with a header alone", "Give more data."
        )
    if asked:
        found = {role: _place(column, header, table) for role, column in asked.items()}
        return Columns(
            text=found["text"],
            pair=found.get("pair"),
            label=found["label"],
            header=header,
            skip=skip,
        )
    names = [_normal(name) for name in header or ()]
    profiles = [_Profile.of([row[i] for row in rows]) for i in range(len(rows[0]))]
    label = _named(names, LABEL_NAMES)
    if label is None:
        label = _label_by_content(profiles, table)
    text, pair = _texts(names, profiles, label, table)
    return Columns(text=text, pair=pair, label=label, header=header, skip=skip)


def is_number(text: str) -> bool:
    """Whether the text is a decimal number."""
    return re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Profile:
    """What a column looks like: its kind, its variety, how many cells have several words."""

    is_whole: bool
    is_numeric: bool
    rows: int
    distinct: int
    sentences: float

    @classmethod
    def of(cls, cells: Sequence[str]) -> _Profile:
        numeric = all(is_number(cell) for cell in cells)
        return cls(
            is_whole=numeric and all(float(cell) % 1 == 0 and "." not in cell for cell in cells),
            is_numeric=numeric,
            rows=len(cells),
            distinct=len(set(cells)),
            sentences=sum(" " in cell.strip() for cell in cells) / len(cells),
        )


def _is_header(rows: Sequence[Sequence[str]], asked: dict[str, str] | None) -> bool:
    """Whether the first row names the columns.

    1. It has a name that was asked for. 2. It has a usual name that occurs nowhere below it.
    3. It has text above a column of numbers.
    """
    first, below = rows[0], rows[1:]
    if asked and any(not column.isdecimal() for column in asked.values()):
        return True
    for i, cell in enumerate(first):
        column = [row[i] for row in below]
        if _normal(cell) in _NAMES and cell not in column:
            return True
        if column and cell.strip() and not is_number(cell) and all(is_number(c) for c in column):
            return True
    return False


def _place(column: str, header: tuple[str, ...] | None, table: Table) -> int:
    if header is not None and column in header:
        return header.index(column)
    width = len(table.rows[0])
    if column.isdecimal() and int(column) < width:
        return int(column)
    known = ", ".join(header) if header else f"0 to {width - 1}"
    raise DataError(f"a column of {table.path}", repr(column), f"There are: {known}.")


def _normal(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower().lstrip("#").strip())


def _named(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _label_by_content(profiles: Sequence[_Profile], table: Table) -> int:
    """The one column of repeated whole numbers; else of fractions; else of few different words."""
    repeated = [i for i, p in enumerate(profiles) if p.distinct < p.rows]
    for candidates in (
        [i for i in repeated if profiles[i].is_whole],
        [i for i, p in enumerate(profiles) if p.is_numeric and not p.is_whole],
        [i for i in repeated if profiles[i].distinct <= max(2, profiles[i].rows // 10)],
    ):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise DataError(
                "one column that can be the label",
                f"the columns {', '.join(map(str, candidates))} of {table.path}",
                HINT,
            )
    raise DataError("a column of labels", f"none that looks like it in {table.path}", HINT)


def _texts(
    names: Sequence[str], profiles: Sequence[_Profile], label: int, table: Table
) -> tuple[int, int | None]:
    """The column of the text and that of its pair: by name, else the one or two with sentences."""
    for first, second in PAIR_NAMES:
        if first in names and second in names and label not in {names.index(second)}:
            return names.index(first), names.index(second)
    named = _named(names, TEXT_NAMES)
    if named is not None and named != label:
        return named, None
    others = [i for i in range(len(profiles)) if i != label]
    found = [i for i in others if profiles[i].sentences > 0.5]
    if not found and len(others) == 1:
        found = others
    if len(found) not in {1, 2}:
        raise DataError(
            "one or two columns of text",
            f"{len(found)} that look like it in {table.path}",
            HINT,
        )
    return found[0], found[1] if len(found) == 2 else None
