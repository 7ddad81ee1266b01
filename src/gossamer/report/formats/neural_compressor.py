"""Accuracy ratio and throughput gain of each model, as Neural Compressor publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossamer.published import Cell, Column, Published, PublishedTable, Study
from gossamer.report import studies as of
from gossamer.report import writing
from gossamer.result import ReportFormat

if TYPE_CHECKING:
    from gossamer.result import Result

PACKAGES = {"ort": "onnxruntime", "torch-cpu": "torch", "ort-cuda": "onnxruntime-gpu"}
COLUMNS = (
    Column(name="model"),
    Column(name="example"),
    Column(name="metric"),
    Column(name="accuracy INT8", kind="score"),
    Column(name="accuracy FP32", kind="score"),
    Column(name="accuracy ratio [(INT8-FP32)/FP32]", kind="share"),
    Column(name="throughput INT8 (samples/s)", kind="number"),
    Column(name="throughput FP32 (samples/s)", kind="number"),
    Column(name="performance gain [INT8/FP32]", kind="factor"),
    Column(name="gain low", kind="factor"),
    Column(name="gain high", kind="factor"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NeuralCompressor(ReportFormat):
    """Accuracy ratio and throughput gain of the int8 model of each study, by runtime."""

    is_in_folder: ClassVar[bool] = False

    @property
    def file_name(self) -> str:
        """Name that the tables have by default."""
        return "neural-compressor.md"

    def render(self, result: Result) -> str:
        """The tables of one study, in Markdown."""
        return writing.markdown(self.published((of.of_result(result),)))

    def published(self, studies: Sequence[Study]) -> Published:
        """A table for each runtime and machine."""
        groups: dict[str, list[Study]] = {}
        for study in studies:
            groups.setdefault(_group(study), []).append(study)
        return Published(
            title="Validated models",
            notes=(
                "INT8 is what the study recommends. Gains are ratios of median latencies that were "
                "taken in turns, with 95 % intervals, against the fastest float32 of the study.",
            ),
            tables=tuple(
                PublishedTable(title=title, columns=COLUMNS, rows=tuple(map(_row, found)))
                for title, found in groups.items()
            ),
        )


def _group(study: Study) -> str:
    runtime = study.chosen.runtime if study.chosen else "no runtime"
    version = study.versions.get(PACKAGES.get(runtime, runtime), "")
    threads = f", {study.threads} threads" if study.threads else ""
    name = f"{runtime} {version}".strip()
    return f"{name} on {study.machine}{threads}{_at(study)}"


def _at(study: Study) -> str:
    return f", {study.point}" if study.point else ""


def _row(study: Study) -> tuple[Cell, ...]:
    best, base = study.chosen, study.baseline
    is_float = best is None or best.precision != "int8"
    ours, theirs = None if is_float or best is None else best, base
    score = ours.score if ours else None
    base_score = theirs.score if theirs else None
    ratio = None
    if score is not None and base_score:
        ratio = (score - base_score) / abs(base_score)
    low, high = (ours.speedup_interval if ours else None) or (None, None)
    return (
        study.model,
        study.kind,
        study.metric,
        score,
        base_score,
        ratio,
        ours.throughput if ours else None,
        theirs.throughput if theirs else None,
        ours.speedup if ours else None,
        low,
        high,
    )
