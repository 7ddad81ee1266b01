"""Scores of sessions on splits, their drops, and intervals by paired resampling."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import numpy as np

from gossamer import store
from gossamer.errors import BuildError, DataError, MeasureError, StorageError
from gossamer.frames import decode, encode
from gossamer.measure.isolate import Isolated
from gossamer.measurement import ScoreRows
from gossamer.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Session
    from gossamer.task import Split, Task

RESAMPLES = 2000


class References:
    """The float model's outputs on disk, one file for each sample, by index in the data set.

    A folder belongs to one float model and one data set; it grows while the baseline is scored,
    and what is there when a killed run is resumed is not computed again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, index: int) -> bool:
        return self._path(index).exists()

    def get(self, index: int) -> Feed:
        """The outputs for one sample.

        Raises:
            MeasureError: They were never put there.
            StorageError: The file is damaged.
        """
        path = self._path(index)
        if not path.exists():
            raise MeasureError(
                f"the float model's outputs for sample {index}",
                f"no such file in {self.folder}",
                "Score the baseline on this split first.",
            )
        try:
            return decode(path.read_bytes())[1]
        except ValueError as error:
            raise StorageError(
                "a whole file of reference outputs", f"{path}: {error}", "Delete it and try again."
            ) from error

    def put(self, index: int, outputs: Feed) -> None:
        """Keep the outputs for one sample; the file is there as a whole or not at all.

        Raises:
            StorageError: The disk is full, or the folder cannot be written.
        """
        pieces = encode({}, outputs, checked=True)
        with store.told_apart(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # not store.write_bytes: its fsync for thousands of files takes longer than the model;
            # the checksum tells after a power cut
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".put.")
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
            os.replace(name, self._path(index))  # noqa: PTH105 - there is no Path yet

    def _path(self, index: int) -> Path:
        return self.folder / f"{index}.ref"


def score(
    session: Session,
    task: Task,
    split: Split,
    references: References | None = None,
    progress: Progress | None = None,
) -> ScoreRows:
    """The score of a session over a split, row by row; `progress` advances with every row.

    A task that compares with the float model finds its outputs in `references`.

    Raises:
        MeasureError: The session refuses a row or crashes, the split is empty, or references
            are missing.
    """
    if not task.needs_reference:
        return _scored(task, split, lambda _, feed: (session.run(feed), None), progress)
    known = _needed(references)
    return _scored(task, split, lambda i, feed: (session.run(feed), known.get(i)), progress)


def score_baseline(
    session: Session,
    task: Task,
    split: Split,
    references: References | None = None,
    progress: Progress | None = None,
) -> ScoreRows:
    """The score of the float model; its outputs are put into `references` if the task needs them.

    Rows whose outputs are there already are not run again. Against itself the baseline has no
    noise at all.

    Raises:
        MeasureError: As for `score`.
        StorageError: The outputs cannot be written.
    """
    if not task.needs_reference:
        return score(session, task, split, None, progress)
    known = _needed(references)

    def both(index: int, feed: Feed) -> tuple[Feed, Feed]:
        if index not in known:
            known.put(index, session.run(feed))
        outputs = known.get(index)
        return outputs, outputs

    return _scored(task, split, both, progress)


def one_row(
    runtime: str, path: Path, task: Task, split: Split, *, threads: int
) -> NDArray[np.float64] | None:
    """The row of a split's first sample on the float model: what does not fit is told here.

    None where the runtime refuses the model; another one may not, and baselines will tell.

    Raises:
        DataError: The data does not fit the model, or the task does not fit its outputs.
    """
    feed, label = next(iter(split.rows()))
    try:
        with Isolated(runtime, path, threads=threads, precision="f32") as session:
            outputs = session.run(feed)
    except BuildError:
        return None
    except MeasureError as error:
        raise DataError(error.needed, error.received, error.hint) from error
    return task.row(outputs, label, outputs if task.needs_reference else None)


def drop(task: Task, baseline: float, value: float) -> float:
    """How much worse `value` is than the baseline's score, in score units; positive is worse."""
    return baseline - value if task.higher_is_better else value - baseline


def paired_interval(
    task: Task, baseline: NDArray[np.float64], rows: NDArray[np.float64], *, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the drop: one draw of samples serves both models.

    `baseline` are the float model's rows `[n, k]`, `rows` the other one's of the same samples.

    Raises:
        MeasureError: The rows are not of the same samples, or no resample has a score.
    """
    if len(baseline) != len(rows) or len(rows) == 0:
        raise MeasureError(
            "rows of the same samples, at least one",
            f"{len(baseline)} and {len(rows)} rows",
            "Score both models on the same split.",
        )
    random = np.random.default_rng(seed)
    drops = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        chosen = random.integers(0, len(rows), len(rows))
        drops[i] = drop(task, task.score(baseline[chosen]), task.score(rows[chosen]))
    drops = drops[~np.isnan(drops)]  # samples so drawn that they have no score, as of one class
    if len(drops) == 0:
        raise MeasureError(
            f"rows from which {task.metric_name} can be computed", "rows without any score"
        )
    # nearest: a drop can be infinite, and between infinities nothing can be interpolated
    low, high = np.percentile(drops, (2.5, 97.5), method="nearest")
    return float(low), float(high)


def _scored(
    task: Task,
    split: Split,
    outputs_of: Callable[[int, Feed], tuple[Feed, Feed | None]],
    progress: Progress | None,
) -> ScoreRows:
    """The score over `split` of the outputs and references that `outputs_of` gives for a row."""
    if len(split) == 0:
        raise MeasureError("a split with samples", "an empty one", "Give more data.")
    listener = progress or Silent()
    rows = []
    for index, (feed, label) in zip(split.indices, split.rows(), strict=True):
        outputs, reference = outputs_of(index, feed)
        rows.append(task.row(outputs, label, reference))
        listener.advance()
    table = np.stack([np.atleast_1d(row) for row in rows]).astype(np.float64)
    return ScoreRows(value=task.score(table), rows=table, metrics=task.metrics(table))


def _needed(references: References | None) -> References:
    if references is None:
        raise MeasureError(
            "a folder with the float model's outputs",
            "none",
            "This task compares with the float model: give references.",
        )
    return references
