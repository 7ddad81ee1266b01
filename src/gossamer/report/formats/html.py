"""The report for people: one static HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.report import listings, sections, words
from gossamer.report.markup import Markup, tag
from gossamer.report.page import SCRIPT, STYLE
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
            listings.candidates(result),
            sections.sizes(result),
            listings.plan(result),
            sections.calibration(result),
            sections.method(result),
            sections.reproduce(result),
            tag("footer", "Written by gossamer. The same numbers, for programs: result.json."),
        )
        page = tag(
            "html", _head(result), tag("body", body, tag("script", Markup(SCRIPT))), lang="en"
        )
        return f"<!doctype html>\n{page}\n"


def _head(result: Result) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy()),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{words.model_name(result)}: gossamer report"),
        tag("style", Markup(STYLE)),
    )


def _policy() -> str:
    """Only our own script runs and nothing is fetched, whatever a model's names contain."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    rules = ("default-src 'none'", "style-src 'unsafe-inline'", "img-src data:")
    return "; ".join((*rules, f"script-src 'sha256-{digest}'"))
