"""Published tables as Markdown, HTML, CSV or JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import TYPE_CHECKING

from gossamer.report import document, words
from gossamer.report.markup import Markup, printable, tag
from gossamer.report.page import page
from gossamer.report.parts import number_cell, section, table
from gossamer.report.table import Align, escape_markdown, markdown_table
from gossamer.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.published import Cell, Column, Kind, Published, PublishedTable


def markdown(published: Published) -> str:
    """The tables in Markdown."""
    parts = [f"# {escape_markdown(published.title)}", *map(escape_markdown, published.notes)]
    for each in published.tables:
        sides: list[Align] = ["left" if c.kind == "text" else "right" for c in each.columns]
        lines = [[shown(x, c) for x, c in zip(row, each.columns, strict=True)] for row in each.rows]
        parts += [
            f"## {escape_markdown(each.title)}",
            markdown_table([c.name for c in each.columns], lines, sides).rstrip("\n"),
            *map(escape_markdown, each.notes),
        ]
    return "\n\n".join(parts) + "\n"


def html(published: Published) -> str:
    """The tables on one page that needs nothing else."""
    body = tag(
        "main",
        tag("h1", published.title),
        *(tag("p", note) for note in published.notes),
        *(_section(each) for each in published.tables),
    )
    return page(published.title, body)


def comma_separated(published: Published) -> str:
    """The tables one below the other, each with its title in the first column; plain numbers."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    for each in published.tables:
        lines.writerow(["table", *(printable(c.name, "") for c in each.columns)])
        for row in each.rows:
            cells = [printable(x, "") if isinstance(x, str) else x for x in row]
            lines.writerow([printable(each.title, ""), *cells])
    return written.getvalue()


def json(published: Published) -> str:
    """The tables as a document; rows are lists in the order of the columns."""
    return document.text({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(published)})


WRITERS: dict[str, Callable[[Published], str]] = {
    ".md": markdown,
    ".html": html,
    ".csv": comma_separated,
    ".json": json,
}


def shown(cell: Cell, column: Column) -> str:
    """A cell as people read it."""
    if isinstance(cell, str):
        return printable(cell, "")
    kinds: dict[Kind, Callable[[float | None], str]] = {
        "score": words.number,
        "share": lambda x: f"{x:.4f}" if words.is_number(x) else words.NOTHING,
        "points": lambda x: f"{x:.2f}" if words.is_number(x) else words.NOTHING,
        "number": lambda x: f"{x:.1f}" if words.is_number(x) else words.NOTHING,
        "milliseconds": words.milliseconds,
        "factor": words.times,
    }
    return kinds.get(column.kind, words.number)(_unsigned_zero(cell))


def _unsigned_zero(cell: float | None) -> float | None:
    """Plain formatting would write "-0.00" for tiny negative numbers."""
    return 0.0 if cell is not None and abs(cell) < 5e-5 else cell


def _section(each: PublishedTable) -> Markup:
    headers = [(c.name, "" if c.kind == "text" else "num") for c in each.columns]
    lines = [
        tag(
            "tr",
            *(
                tag("th", shown(x, c), scope="row") if not i and c.kind == "text"
                else tag("td", shown(x, c)) if c.kind == "text" or isinstance(x, str)
                else number_cell(shown(x, c), x)
                for i, (x, c) in enumerate(zip(row, each.columns, strict=True))
            ),
        )
        for row in each.rows
    ]  # fmt: skip
    return section(
        each.title,
        table(headers, lines, each.title, "sortable filterable"),
        *(tag("p", note) for note in each.notes),
    )
