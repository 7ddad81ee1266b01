"""Accuracy drop and speed-up of each model on each machine, as OpenVINO publishes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossamer.published import Cell, Column, Kind, Published, PublishedTable, Study, Variant
from gossamer.report import studies as of
from gossamer.report import writing
from gossamer.result import ReportFormat

if TYPE_CHECKING:
    from gossamer.result import Result

FIRST = tuple(Column(name=name) for name in ("model", "dataset", "metric", "runtime"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Openvino(ReportFormat):
    """Absolute accuracy drop and speed-up of each model, a column for each machine."""

    is_in_folder: ClassVar[bool] = False

    @property
    def file_name(self) -> str:
        """Name that the tables have by default."""
        return "openvino.md"

    def render(self, result: Result) -> str:
        """The tables of one study, in Markdown."""
        return writing.markdown(self.published((of.of_result(result),)))

    def published(self, studies: Sequence[Study]) -> Published:
        """Two tables; studies of one model and data on several machines share a row.

        Of two studies of the same on one machine the last one counts.
        """
        return Published(
            title="Model accuracy and performance for INT8 and FP32",
            notes=(
                "A machine is a processor with the strongest instructions that its int8 kernels "
                "use. Files are those that each study recommends.",
            ),
            tables=(
                _table(studies, "Absolute accuracy drop, % (points of other scores as they are)",
                       "points", _drop),
                _table(studies, "Throughput speed-up of INT8 over FP32", "factor", _speedup),
            ),
        )  # fmt: skip


def _table(
    studies: Sequence[Study], title: str, kind: Kind, value: Callable[[Study], float | None]
) -> PublishedTable:
    machines = tuple(dict.fromkeys(study.machine for study in studies))
    rows: dict[tuple[str, ...], dict[str, float | None]] = {}
    for study in studies:
        runtime = study.chosen.runtime if study.chosen else ""
        key = (study.model, study.dataset, study.metric, runtime)
        rows.setdefault(key, {})[study.machine] = value(study)
    cells: list[tuple[Cell, ...]] = [
        (*key, *(found.get(machine) for machine in machines)) for key, found in rows.items()
    ]
    columns = (*FIRST, *(Column(name=machine, kind=kind) for machine in machines))
    return PublishedTable(title=title, columns=columns, rows=tuple(cells))


def _drop(study: Study) -> float | None:
    found = _int8(study)
    if found is None or found.drop is None:
        return None
    return found.drop * (100 if study.is_fraction else 1)


def _speedup(study: Study) -> float | None:
    found = _int8(study)
    return found.speedup if found else None


def _int8(study: Study) -> Variant | None:
    """What the study recommends, if that is int8: where float was faster there is nothing."""
    return study.chosen if study.chosen and study.chosen.precision == "int8" else None
