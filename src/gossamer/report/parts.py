"""What the sections of the HTML report are built of: cards, facts, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.report import words
from gossamer.report.markup import Markup, join, tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gossamer.result import Result

TABLE = "sortable filterable"


def section(title: str, *children: Markup | None, badge: Markup | None = None) -> Markup:
    """One card of the page under a heading."""
    anchor = title.lower().replace(" ", "-")
    heading = tag("h2", title, " " if badge else None, badge, id=anchor)
    return tag("section", heading, *children, aria_labelledby=anchor)


def tile(value: str, text: str) -> Markup:
    """One large number and what it is."""
    return tag("div", tag("b", value), tag("span", text), class_="tile")


def facts(values: Mapping[str, Any]) -> Markup:
    """Names and values, one under the other."""
    parts = []
    for name, value in values.items():
        parts += [tag("dt", str(name).replace("_", " ")), tag("dd", readable(value))]
    return tag("dl", *parts)


def readable(value: object) -> str:
    """A JSON value as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {readable(v)}" for k, v in value.items()) or words.NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(map(readable, value)) or words.NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return words.NOTHING if value is None or value == "" else str(value)


def mapping(value: object) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def table(
    headers: Sequence[tuple[str, str]],
    lines: Iterable[Markup],
    caption: str,
    class_: str,
    facets: Sequence[str] = (),
    foot: Markup | None = None,
) -> Markup:
    """A table that scrolls sideways on its own where the screen is narrow.

    Args:
        headers: Texts and classes of the columns.
        lines: Its rows.
        caption: What it holds.
        class_: `sortable`, `filterable` and `linked` ask the page's script for these.
        facets: What its rows can be filtered by, as `row` has values for it.
        foot: A row below all others, wherever those are sorted to.
    """
    first = next((text for text, name in headers if not name), "")  # over what names the rows
    cells = [
        tag("th", text, scope="col", class_=name or ("held" if text == first else None))
        for text, name in headers
    ]
    whole = tag(
        "table",
        tag("thead", tag("tr", *cells)),
        tag("tbody", *lines),
        tag("tfoot", foot) if foot else None,
        class_=class_,
        aria_label=caption,
        data_facets="|".join(facets) or None,
    )
    # focusable, so that a keyboard can scroll a table that is wider than the screen
    region = tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)
    # no <caption>: one as wide as its table runs out of a narrow screen
    return join((tag("p", caption, class_="caption"), region))


def row(
    *cells: Markup,
    facets: Sequence[str | Sequence[str]] = (),
    class_: str | None = None,
    mark: int | None = None,
) -> Markup:
    """A row of a table.

    Args:
        cells: Its cells.
        facets: A value, or several, for each facet of the table.
        class_: How it looks.
        mark: What it shares with the marks of plots that are the same thing.
    """
    values = ([f] if isinstance(f, str) else f for f in facets)
    told = {f"data_f{i}": "|".join(v.replace("|", "/") for v in f) for i, f in enumerate(values)}
    return tag("tr", *cells, class_=class_, data_mark=mark, **told)


def number_cell(text: str, value: float | None, below: str = "") -> Markup:
    """A cell that sorts by its value and not by its text."""
    shown = "" if not words.is_number(value) else repr(value)
    small = tag("small", below) if below else None
    return tag("td", text, " " if small else None, small, class_="num", data_value=shown)


def synthetic_badge(result: Result) -> Markup | None:
    """A mark beside every score that was taken on made-up inputs."""
    if not words.is_synthetic(result):
        return None
    return tag("span", "synthetic data", class_="badge warn")
