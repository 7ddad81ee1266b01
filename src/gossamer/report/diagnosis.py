"""A diagnosis as a JSON document and as the lines of a terminal."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING, Any

from gossamer.report import document, words
from gossamer.report.markup import printable
from gossamer.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from gossamer.diagnosis import Diagnosis, SiteDiagnosis
    from gossamer.result import Candidate

SHOWN = 8  # sites in the terminal; the page and the document have all
COLUMNS = ("site", "alone dB", "outputs dB", "together dB", "score without", "finding")


def text(found: Diagnosis) -> str:
    """The document as JSON: every field, paths as text, no NaN."""
    fields = dataclasses.asdict(found)
    written: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **fields}
    written["exit_code"] = found.exit_code
    return document.text(written)


def show(found: Diagnosis, console: Console) -> None:
    """The worst sites, the cures and the outcome; plain lines where no person watches."""
    if not console.is_terminal:
        console.file.write("\n".join(lines(found)) + "\n")
        return
    console.print(_table(found))
    for line in summary(found):
        console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def lines(found: Diagnosis) -> Iterator[str]:
    """Everything as plain text, one line for each site."""
    rows = [COLUMNS, *(cells(site) for site in found.sites[:SHOWN])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
    yield ""
    yield from summary(found)


def cells(site: SiteDiagnosis) -> tuple[str, ...]:
    """One site as text, a cell for each of COLUMNS."""
    return (
        printable(site.site, ""),
        words.decibels(site.alone_db),
        words.decibels(site.output_db),
        words.decibels(site.accumulated_db),
        words.number(site.without_score),
        printable(site.finding, ""),
    )


def summary(found: Diagnosis) -> Iterator[str]:
    """The outcome, the cures with their scores, and what to do next."""
    more = len(found.sites) - SHOWN
    if more > 0:
        yield f"and {more} sites that do less."
    metric = printable(str(found.task["metric"]), "")
    yield (
        f"{metric}: float {words.number(found.float_score)}, given {words.number(found.score)}, "
        f"on {found.task['rows']} rows; budget {printable(found.max_drop, '')}."
    )
    if found.unmatched:
        names = ", ".join(printable(name, "") for name in found.unmatched[:3])
        yield f"The float model does not have {len(found.unmatched)} of the values: {names}."
    yield from (f"  {cure_line(cure)}" for cure in found.cures)
    yield headline(found)
    if found.report:
        yield proof(found)
    if found.cure is not None:
        yield f"The recipe: {command(found)}"


def cure_line(cure: Candidate) -> str:
    """One cure and its score."""
    if cure.status != "ok":
        return f"{cure.label}: failed: {printable(cure.reason, '')}"
    within = "within the budget" if cure.within_budget else "over budget"
    noise = words.decibels(cure.metrics.get("outputs_sqnr_db"))
    return f"{cure.label}: {words.number(cure.score)} ({noise} dB), {within}"


def headline(found: Diagnosis) -> str:
    """The outcome in one sentence."""
    if found.outcome == "healthy":
        return "Nothing to cure: the quantized model is within the budget."
    if found.cure is None:
        return "No cure could be built."
    score = words.number(found.cure.score)
    name = printable(found.cure.label, "")
    if found.outcome == "cured":
        return f"Cured: {name}, score {score}."
    return f"Not cured: the best was {name}, score {score}, not within the budget."


def proof(found: Diagnosis) -> str:
    """What the report split says."""
    told = found.report
    low, high = told["interval"]
    return (
        f"On {told['rows']} rows that no choice saw: float {words.number(told['float'])}, "
        f"given {words.number(told['given'])}, cured {words.number(told['cured'])} "
        f"(drop {told['drop']:+.4g}, 95 %: {low:+.4g} to {high:+.4g})."
    )


def command(found: Diagnosis) -> str:
    """What makes the cured files."""
    path = shlex.quote(printable(str(found.out / "recipe.yaml"), ""))
    return f"gossamer run {path} --out cured"


def _table(found: Diagnosis) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(COLUMNS):
        is_number = 0 < index < len(COLUMNS) - 1
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for site in found.sites[:SHOWN]:
        table.add_row(*map(Text, cells(site)))
    return table
