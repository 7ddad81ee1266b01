"""The task `fidelity`: how closely a candidate follows the float model, without labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossamer.errors import MeasureError
from gossamer.task import (
    DEFAULT_CALIBRATION,
    DataRequest,
    Label,
    Split,
    Task,
    TaskData,
    draw,
    halves,
    split_indices,
)
from gossamer.tasks._arrays import NEEDED, open_arrays
from gossamer.tasks._outputs import check_finite, is_float
from gossamer.tasks._splits import divide, locate
from gossamer.tasks._synthetic import Synthetic

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed

# of made-up inputs: 64 calibrate, 32 search, 32 report; powers over 32 samples hardly vary
SYNTHETIC_SAMPLES = 128
# noise of exactly 0 has no finite ratio, and JSON has no infinity
MOST_DB = 200.0
# what each output adds to a row
NOISE, SIGNAL, EQUAL, TOTAL, TOP1, TOP1_TOTAL = range(6)
COLUMNS = 6
CLASS_WORDS = ("logit", "score", "prob", "class", "softmax")
FEATURE_WORDS = ("embed", "hidden", "feature", "pool", "state", "box", "mask", "loc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity(Task):
    """Agreement with the float model: 1 - noise power / signal power of the worst output.

    Powers are summed over all samples. An integer output counts by its share of equal values.
    """

    default_drop: ClassVar[str] = "1%"
    needs_reference: ClassVar[bool] = True

    @property
    def metric_name(self) -> str:
        """Name of the score."""
        return "fidelity"

    def open(self, request: DataRequest) -> TaskData:
        """Arrays from `.npz` files; without data, inputs made up from the model's signature.

        Raises:
            DataError: See `Task.open`.
        """
        model = request.model
        if request.path is not None:
            places = locate(request, (".npz",), NEEDED)
            return divide(places, lambda p: open_arrays(p, model, labelled=False), request.seed)
        samples = Synthetic.of(
            model, count=SYNTHETIC_SAMPLES, seed=request.seed, length=request.length
        )
        files: tuple[Path, ...] = ()
        if request.calibration_path is None:
            first, second, third = split_indices(SYNTHETIC_SAMPLES, request.seed)
            calibration = Split(samples=samples, indices=first)
        else:
            own = replace(request, path=request.calibration_path, calibration_path=None)
            files = (locate(own, (".npz",), NEEDED).main,)
            stored = open_arrays(files[0], model, labelled=False)
            chosen = draw(len(stored), DEFAULT_CALIBRATION, request.seed)
            calibration = Split(samples=stored, indices=chosen)
            second, third = halves(SYNTHETIC_SAMPLES, request.seed)
        return TaskData(
            calibration=calibration,
            search=Split(samples=samples, indices=second),
            report=Split(samples=samples, indices=third),
            synthetic=True,
            files=files,
        )

    def row(self, outputs: Feed, label: Label, reference: Feed | None) -> NDArray[np.float64]:
        """Six sums for each output of the float model, `[6 * outputs]`."""
        if reference is None:
            raise MeasureError("the float model's outputs to compare with", "none")
        check_finite(reference, "the float model")
        check_finite(outputs, "the candidate")
        return np.concatenate(
            [_compare(name, outputs, wanted) for name, wanted in reference.items()]
        )

    def score(self, rows: NDArray[np.float64]) -> float:
        """The worst output's score."""
        return min(_scores(_sums(rows)))

    def metrics(self, rows: NDArray[np.float64]) -> dict[str, float]:
        """The score, its noise ratio in dB, and how often the best class is the same."""
        sums = _sums(rows)
        found = {self.metric_name: min(_scores(sums))}
        floats = [s for s in sums if s[SIGNAL] > 0]
        if floats:
            found["sqnr_db"] = min(_decibel(s) for s in floats)
        classes = [s for s in sums if s[TOP1_TOTAL] > 0]
        if classes:
            found["top1_agreement"] = min(float(s[TOP1] / s[TOP1_TOTAL]) for s in classes)
        return found


def looks_like_logits(name: str, array: NDArray[np.generic]) -> bool:
    """Whether the last axis of an output holds one number per class.

    Named like classes, or of rank 2 and not named like features.
    """
    if not is_float(array) or array.ndim < 2 or array.shape[-1] < 2:
        return False
    words = name.lower()
    if any(word in words for word in CLASS_WORDS):
        return True
    return array.ndim == 2 and not any(word in words for word in FEATURE_WORDS)


def _compare(name: str, outputs: Feed, wanted: NDArray[np.generic]) -> NDArray[np.float64]:
    found = outputs.get(name)
    if found is None or found.shape != wanted.shape:
        raise MeasureError(
            f"the output {name} of shape {wanted.shape}, as the float model gives it",
            "no such output" if found is None else f"shape {found.shape}",
            "Outputs whose size depends on the numbers need a task with labels.",
        )
    row = np.zeros(COLUMNS)
    if not is_float(wanted):
        row[EQUAL], row[TOTAL] = np.count_nonzero(found == wanted), wanted.size
        return row
    reference = wanted.astype(np.float64)
    row[NOISE] = np.square(found.astype(np.float64) - reference).sum()
    row[SIGNAL] = np.square(reference).sum()
    if looks_like_logits(name, wanted):
        same = found.argmax(-1) == wanted.argmax(-1)
        row[TOP1], row[TOP1_TOTAL] = np.count_nonzero(same), same.size
    return row


def _sums(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over samples, `[outputs, 6]`."""
    total: NDArray[np.float64] = rows.sum(axis=0).reshape(-1, COLUMNS)
    return total


def _scores(sums: NDArray[np.float64]) -> list[float]:
    return [float(s[EQUAL] / s[TOTAL]) if s[TOTAL] > 0 else _fidelity(s) for s in sums]


def _fidelity(sums: NDArray[np.float64]) -> float:
    if sums[NOISE] == 0:
        return 1.0
    # an output that is always 0 in float and not in the candidate has lost all there was
    return float(1 - sums[NOISE] / sums[SIGNAL]) if sums[SIGNAL] > 0 else 0.0


def _decibel(sums: NDArray[np.float64]) -> float:
    if sums[NOISE] == 0:
        return MOST_DB
    return min(MOST_DB, 10 * math.log10(sums[SIGNAL] / sums[NOISE]))
