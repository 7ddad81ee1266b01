"""Float, int8 where it pays, and int8 everywhere, beside each other for each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossamer.published import Cell, Column, Published, PublishedTable, Study, Variant
from gossamer.report import studies as of
from gossamer.report import words, writing
from gossamer.result import ReportFormat, Result

if TYPE_CHECKING:
    from gossamer.published import Kind

SUMMARY = (
    Column(name="model"),
    Column(name="speed-up, mixed precision", kind="factor"),
    Column(name="speed-up, uniform INT8", kind="factor"),
    Column(name="drop, mixed precision", kind="points"),
    Column(name="drop, uniform INT8", kind="points"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MixedPrecision(ReportFormat):
    """Float, half floats, int8 where it pays and int8 everywhere: score, latency and speed-up."""

    is_in_folder: ClassVar[bool] = False

    @property
    def file_name(self) -> str:
        """Name that the tables have by default."""
        return "mixed-precision.md"

    def render(self, result: Result) -> str:
        """The tables of one study, in Markdown."""
        return writing.markdown(self.published((of.of_result(result),)))

    def published(self, studies: Sequence[Study]) -> Published:
        """A table for each study, and one of all."""
        rows = tuple(_summary(study) for study in studies)
        notes = ("Drops are in points where the score is a fraction, else in its own units.",)
        last = PublishedTable(title="Summary", columns=SUMMARY, rows=rows, notes=notes)
        return Published(
            title="Mixed precision",
            notes=(
                "Speed-ups are against the fastest float32 of the study, taken in turns. Uniform "
                "INT8 is int8 at every operator that has an int8 kernel, on the same runtime. All "
                "scores of a table are on the split that the search saw.",
            ),
            tables=(*(_table(study) for study in studies), last),
        )


def _table(study: Study) -> PublishedTable:
    found = dict(_variants(study))
    metrics = [m for v in found.values() for m in v.metrics]
    names = list(dict.fromkeys((study.metric, *metrics)))
    score: Kind = "score"
    columns = (
        Column(name="variant"),
        Column(name="runtime"),
        *(Column(name=name, kind=score) for name in names),
        Column(name="latency (ms)", kind="milliseconds"),
        Column(name="speed-up", kind="factor"),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            v.runtime,
            *(v.metrics.get(metric) for metric in names),
            v.latency_ms,
            v.speedup,
        )
        for name, v in found.items()
    ]
    threads = f", {study.threads} threads" if study.threads else ""
    point = f", {study.point}" if study.point else ""
    title = f"{study.model} on {study.machine}{threads}{point}"
    return PublishedTable(title=title, columns=columns, rows=tuple(rows), notes=_notes(study))


def _variants(study: Study) -> Iterator[tuple[str, Variant]]:
    """What stands in a table, by the searched split, on which everything was scored."""
    seen = {v.identity: v for v in study.variants}
    if study.baseline is not None:
        yield "float32", seen.get(study.baseline.identity, study.baseline)
    for v in study.variants:
        if v.precision == "half":
            yield f"{v.label} on {v.runtime}", v
    if study.chosen is not None and study.chosen.precision == "int8":
        best = study.chosen
        yield f"mixed precision ({best.label})", seen.get(best.identity, best)
    if study.uniform is not None:
        yield "uniform INT8", study.uniform


def _notes(study: Study) -> tuple[str, ...]:
    placement = study.source.placement if isinstance(study.source, Result) else None
    if placement is not None:
        return (f"In one run of turns: {words.placement(placement)}.",)
    return () if study.uniform else ("int8 everywhere was not measured in this study.",)


def _summary(study: Study) -> tuple[Cell, ...]:
    seen = {v.identity: v for v in study.variants}
    chosen = study.chosen if study.chosen and study.chosen.precision == "int8" else None
    mixed = seen.get(chosen.identity, chosen) if chosen else None
    scale = 100 if study.is_fraction else 1
    return (
        study.model,
        mixed.speedup if mixed else None,
        study.uniform.speedup if study.uniform else None,
        *(None if v is None or v.drop is None else v.drop * scale for v in (mixed, study.uniform)),
    )
