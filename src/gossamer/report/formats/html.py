"""The report for people: one static HTML file that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.report import listings, sections, spread, words
from gossamer.report.markup import tag
from gossamer.report.page import page
from gossamer.result import ReportFormat

if TYPE_CHECKING:
    from gossamer.result import Result


@dataclass(frozen=True, kw_only=True, slots=True)
class Html(ReportFormat):
    """`report.html`: verdict, plot, candidates, plan and method on one page, offline."""

    @property
    def file_name(self) -> str:
        """Name of the file in the output folder."""
        return "report.html"

    def render(self, result: Result) -> str:
        """The whole text of the file."""
        body = tag(
            "main",
            sections.head(result),
            sections.winner(result),
            sections.chart(result),
            sections.trades(result),
            listings.candidates(result),
            spread.latencies(result),
            sections.sizes(result),
            listings.plan(result),
            sections.calibration(result),
            sections.method(result),
            sections.reproduce(result),
            tag("footer", "Written by gossamer. The same numbers, for programs: result.json."),
        )
        return page(f"{words.model_name(result)}: gossamer report", body)
