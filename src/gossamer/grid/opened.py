"""The model and the rows that a sweep is about, found and checked before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import DataError, RecipeError
from gossamer.measure.score import one_row
from gossamer.plugins import unknown
from gossamer.task import DataRequest, Split, affordable, draw

if TYPE_CHECKING:
    from gossamer.grid.runs import Grid
    from gossamer.source import FloatModel
    from gossamer.task import Task, TaskData

DATASET = {
    "path": (str,),
    "name": (str,),
    "eval_split": (str,),
    "calibration_split": (str,),
    "data_keys": (dict,),
    "ref_keys": (list,),
}
ROLES = {"primary": "text", "secondary": "pair"}
LOCAL = "Data sets of a hub are not fetched: save the splits as tsv, csv, jsonl or parquet."


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """What a sweep is about.

    Attributes:
        model: The opened source.
        task: What scores.
        rows: What is scored: everything but calibration rows.
        data: As the task opened it.
        files: Paths of data, for the record.
        remarks: What is done otherwise than asked for.
    """

    model: FloatModel
    task: Task
    rows: Split
    data: TaskData
    files: tuple[Path, ...]
    remarks: tuple[str, ...] = ()

    def calibration(self, samples: int) -> Split:
        """So many calibration rows; all there are if they are fewer."""
        held, judged = self.data.calibration, (self.data.search, self.data.report)
        if all(held.samples is not other.samples for other in judged):
            return Split(samples=held.samples, indices=draw(len(held.samples), samples, 0))
        return affordable(held, samples)


def opened(grid: Grid, cache: Path, seed: int) -> Opened:
    """The model, the task and the rows.

    Raises:
        InputError: Something cannot be used.
    """
    from gossamer.sources import find
    from gossamer.tasks import choose

    places = _places(grid.dataset)
    model = find(grid.model).open(cache)
    options, remarks = _options(grid)
    task = choose(grid.task, model, options, has_data=bool(places))
    data = task.open(
        DataRequest(
            model=model,
            path=places.get("eval"),
            calibration_path=places.get("calibration"),
            seed=seed,
        )
    )
    rows = _joined(data.search, data.report)
    return Opened(
        model=model,
        task=task,
        rows=rows if grid.rows is None else affordable(rows, grid.rows),
        data=data,
        files=tuple(places.values()),
        remarks=remarks,
    )


def check(found: Opened, metrics: tuple[str, ...]) -> None:
    """Score one row of the float model, so that what does not fit is told before any work.

    Raises:
        DataError: The data does not fit the model, or the task does not fit its outputs.
        RecipeError: A metric that the task does not report.
    """
    row = one_row("ort", found.model.path, found.task, found.rows, threads=1)
    if row is None:
        return
    known = tuple(found.task.metrics(row[None]))
    for metric in metrics:
        if metric not in known:
            raise unknown("a metric of the task", metric, known)


def _joined(search: Split, report: Split) -> Split:
    """Rows to score: nothing is chosen by them, so both halves count."""
    if search.samples is not report.samples:
        return report
    return Split(samples=report.samples, indices=tuple(sorted((*search.indices, *report.indices))))


def _places(dataset: Mapping[str, Any]) -> dict[str, Path]:
    """Where the rows to score lie, and those for calibration if they lie apart."""
    for key, value in dataset.items():
        if key not in DATASET:
            raise unknown("a key of dataset", str(key), tuple(DATASET))
        if value is not None and not isinstance(value, DATASET[key]):
            raise RecipeError(
                f"{DATASET[key][0].__name__} for dataset.{key}",
                repr(value)[:80],
                "The data set is one for all settings.",
            )
    if not dataset:
        return {}
    path = Path(str(dataset.get("path")))
    if not path.exists():
        raise DataError("a local file or folder for dataset.path", repr(str(path)), LOCAL)
    found = {
        part: _split(path, f"{key}_split", name)
        for part, key in (("eval", "eval"), ("calibration", "calibration"))
        if (name := dataset.get(f"{key}_split")) is not None
    }
    return {"eval": path, **found}


def _split(folder: Path, key: str, name: str) -> Path:
    """The file or folder of a split, by its name with or without suffix."""
    if not folder.is_dir():
        raise DataError(
            f"a folder for dataset.path, in which dataset.{key} {name} is found",
            f"the file {folder}",
            "Name the folder, or leave the splits out.",
        )
    held = sorted(folder.iterdir())
    matching = [p for p in held if name in (p.name, p.stem)]
    if not matching:
        near = unknown(f"dataset.{key} in {folder}", name, tuple(p.name for p in held[:40]))
        raise DataError(near.needed, near.received, near.hint)
    return matching[0]


def _options(grid: Grid) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Options of the task, and what of the file it has no use for."""
    from gossamer import plugins

    options = {str(k): v for k, v in grid.task_args.items() if k != "is_regression"}
    if grid.task_args.get("is_regression"):
        options["metric"] = "spearman"
    if grid.task is None:
        return options, ()
    fields = {f.name for f in dataclasses.fields(plugins.load("tasks", grid.task))}
    if "metric" in fields and grid.metrics:
        options.setdefault("metric", grid.metrics[0])
    keys = grid.dataset.get("data_keys") or {}
    columns = {ROLES.get(str(k), str(k)): v for k, v in keys.items() if v is not None}
    if labels := grid.dataset.get("ref_keys"):
        columns["label"] = labels[0]
    if not columns:
        return options, ()
    if "columns" not in fields:
        return options, (f"data_keys and ref_keys: the task {grid.task} finds these by itself",)
    options.setdefault("columns", ",".join(f"{role}={name}" for role, name in columns.items()))
    return options, ()
