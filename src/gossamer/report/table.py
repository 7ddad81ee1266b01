"""Tables of candidates: for terminals, for pipes and for Markdown, from the same cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gossamer.report import words
from gossamer.report.markup import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from gossamer.result import Candidate, Result

Align = Literal["left", "right"]
COLUMNS: tuple[tuple[str, Align], ...] = (
    ("candidate", "left"),
    ("runtime", "left"),
    ("score", "right"),
    ("drop", "right"),
    ("latency ms", "right"),
    ("speed-up", "right"),
    ("size", "right"),
    ("status", "left"),
)
SPECIAL = re.compile(r"([\\`*_\[\]<>|~$#])")
WIDE = 120  # columns of a terminal that hold a row with its intervals
STYLES = {"ok": "", "failed": "red", "skipped": "dim"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One candidate as text, one cell for each of COLUMNS.

    Attributes:
        cells: Everything.
        short: The same without intervals, for narrow terminals.
    """

    candidate: Candidate
    cells: tuple[str, ...]
    short: tuple[str, ...]
    is_winner: bool = False


def rows(
    candidates: Iterable[Candidate],
    winner: Candidate | None = None,
    baseline: Candidate | None = None,
) -> list[Row]:
    """One row for each candidate, the fastest first, failures last."""
    return [
        Row(
            candidate=c,
            cells=_cells(c, winner, baseline),
            short=_cells(c, winner, baseline, is_short=True),
            is_winner=words.is_same(c, winner),
        )
        for c in words.by_latency(candidates)
    ]


def candidate_table(shown: Sequence[Row], width: int = WIDE) -> Table:
    """The rows as a rich table for a terminal of `width`; texts are never read as rich markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, align in COLUMNS:
        flexible = name in ("candidate", "status")
        table.add_column(name, justify=align, no_wrap=not flexible, overflow="fold")
    for row in shown:
        style = "bold green" if row.is_winner else STYLES[row.candidate.status]
        table.add_row(*map(Text, row.cells if width >= WIDE else row.short), style=style)
    return table


def plain_table(shown: Sequence[Row]) -> str:
    """The rows as aligned plain text, one line for each, no escape sequences, nothing cut."""
    lines = [tuple(name for name, _ in COLUMNS), *(row.cells for row in shown)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    return "".join(
        "  ".join(
            cell.rjust(width) if align == "right" else cell.ljust(width)
            for cell, width, (_, align) in zip(line, widths, COLUMNS, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def markdown_table(
    headers: Sequence[str], lines: Iterable[Sequence[str]], align: Sequence[Align] = ()
) -> str:
    r"""A Markdown table; every cell is escaped.

    >>> print(markdown_table(["name", "ms"], [["a|b", "1.0"]], ["left", "right"]), end="")
    | name | ms |
    | --- | ---: |
    | a\|b | 1.0 |
    """
    sides = [*align, *["left"] * (len(headers) - len(align))]
    rule = ["---:" if side == "right" else "---" for side in sides]
    body = [[escape_markdown(cell) for cell in line] for line in (headers, *lines)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (body[0], rule, *body[1:]))


def candidate_markdown(
    candidates: Iterable[Candidate],
    winner: Candidate | None = None,
    baseline: Candidate | None = None,
) -> str:
    """The table of candidates as Markdown."""
    shown = rows(candidates, winner, baseline)
    return markdown_table(
        [name for name, _ in COLUMNS], [r.cells for r in shown], [side for _, side in COLUMNS]
    )


def escape_markdown(text: str) -> str:
    """One line of text that Markdown shows as it is, HTML and all."""
    return SPECIAL.sub(r"\\\1", printable(text, "").replace("&", "&amp;"))


def summary(result: Result) -> list[str]:
    """The verdict as a few lines of plain text."""
    lines = [f"{words.headline(result)}."]
    score = words.verdict_score(result)
    if score:
        lines.append(f"{score[0].upper()}{score[1:]}.")
    if words.is_synthetic(result):
        lines.append(
            "The inputs were made up from the model's signature: give --data for a real score."
        )
    lines += words.remarks(result)
    if result.reason:
        lines.append(printable(result.reason, ""))
    if result.placement is not None:
        lines.append(f"{words.placement(result.placement)}.")
    if len(result.objectives) > 1 and result.front:
        labels = {c.id: f"{c.label} on {c.target}" for c in result.candidates}
        named = "; ".join(printable(labels[each], "") for each in result.front)
        lines.append(f"Not beaten in {' and '.join(result.objectives)} together: {named}.")
    lines.append(f"Measured on {words.place(result)}, in {words.duration(result.seconds)}.")
    if result.winner is not None and (doubt := words.unproven(result.winner)):
        lines.append(f"Rules of the target {result.winner.target}: {doubt}.")
    if result.winner is not None and result.winner.path is not None:
        lines.append(f"Model: {printable(str(result.out / 'model'), '')}")
    return lines


def show(result: Result, console: Console) -> None:
    """Prints table and verdict: in colour on a terminal, as plain text anywhere else."""
    shown = rows(result.candidates, result.winner, result.baseline)
    if console.is_terminal:
        console.print(candidate_table(shown, console.width))
        for line in summary(result):
            console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
        return
    console.file.write(plain_table(shown) + "\n" + "\n".join(summary(result)) + "\n")


def _cells(
    candidate: Candidate,
    winner: Candidate | None,
    baseline: Candidate | None,
    *,
    is_short: bool = False,
) -> tuple[str, ...]:
    speed = words.times(candidate.speedup)
    lost = words.drop(candidate)
    if is_short:
        lost = words.drop_percent(candidate) or lost
    elif candidate.speedup_interval is not None and not words.is_same(candidate, baseline):
        speed = f"{speed} [{words.interval(candidate.speedup_interval)}]"
    mark = "\u2605 " if words.is_same(candidate, winner) else ""
    return (
        mark + printable(candidate.label, ""),
        printable(candidate.runtime, ""),
        words.number(candidate.score),
        lost,
        words.milliseconds(words.median(candidate)),
        speed,
        words.size(candidate.size_bytes),
        words.status(candidate, winner, baseline),
    )
