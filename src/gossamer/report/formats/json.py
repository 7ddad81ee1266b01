"""The machine-readable report: the JSON document of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.report import document
from gossamer.result import ReportFormat

if TYPE_CHECKING:
    from gossamer.result import Result


@dataclass(frozen=True, kw_only=True, slots=True)
class Json(ReportFormat):
    """`result.json`: what `--json` prints, for programs."""

    @property
    def file_name(self) -> str:
        """Name of the file in the output folder."""
        return "result.json"

    def render(self, result: Result) -> str:
        """The whole text of the file."""
        return document.text(document.document(result))
