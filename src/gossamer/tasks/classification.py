"""The task `classification`: arrays in, one class out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.task import DataRequest, Label, Task, TaskData
from gossamer.tasks._arrays import NEEDED, open_arrays
from gossamer.tasks._labels import check_variety
from gossamer.tasks._outputs import accuracies, hits
from gossamer.tasks._splits import divide, locate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gossamer.runtime import Feed


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification(Task):
    """Share of samples whose class is found; `.npz` with an array per input and `labels`."""

    @property
    def metric_name(self) -> str:
        """Name of the score."""
        return "accuracy"

    def open(self, request: DataRequest) -> TaskData:
        """Arrays and labels from `.npz` files.

        Raises:
            DataError: See `Task.open`.
        """
        places = locate(request, (".npz",), f"{NEEDED}, and labels")
        found = divide(
            places, lambda path: open_arrays(path, request.model, labelled=True), request.seed
        )
        for path, split in zip(places.judged, (found.search, found.report), strict=False):
            samples = split.samples
            check_variety([samples.label(i) for i in range(len(samples))], path)
        return found

    def row(self, outputs: Feed, label: Label, reference: Feed | None) -> NDArray[np.float64]:
        """[top-1 hit, top-5 hit, number of classes]."""
        return hits(outputs, label)

    def score(self, rows: NDArray[np.float64]) -> float:
        """Share of top-1 hits."""
        return float(rows[:, 0].mean())

    def metrics(self, rows: NDArray[np.float64]) -> dict[str, float]:
        """Accuracy, and top-5 accuracy where there are more than five classes."""
        return accuracies(rows)
