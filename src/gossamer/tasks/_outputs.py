"""What the tasks read off a model's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import DataError, MeasureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.runtime import Feed
    from gossamer.task import Label


def is_float(array: NDArray[np.generic]) -> bool:
    """Whether the numbers are floats, bfloat16 and its like included."""
    return array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float"))


def check_finite(outputs: Feed, whose: str = "the model") -> None:
    """Nothing, if every float output is finite.

    Raises:
        MeasureError: NaN or Inf.
    """
    for name, array in outputs.items():
        if is_float(array) and not np.isfinite(array).all():
            bad = int(np.size(array) - np.isfinite(array).sum())
            raise MeasureError(
                f"finite outputs of {whose}",
                f"{bad} of {np.size(array)} values of {name} are NaN or Inf",
            )


def logits(outputs: Feed) -> NDArray[np.float64]:
    """The first float output with one number per class, `[classes]`.

    Raises:
        DataError: No output has that form.
        MeasureError: NaN or Inf.
    """
    check_finite(outputs)
    for array in outputs.values():
        vector = np.squeeze(array)
        if is_float(array) and vector.ndim == 1 and vector.size > 1:
            return vector.astype(np.float64)
    raise DataError(
        "a float output with one number for each of at least two classes",
        _shapes(outputs),
        "A model that gives something else is judged with --task fidelity.",
    )


def number(outputs: Feed) -> float:
    """The first float output that is one number.

    Raises:
        DataError: No output has that form.
        MeasureError: NaN or Inf.
    """
    check_finite(outputs)
    for array in outputs.values():
        if is_float(array) and array.size == 1:
            return float(array.reshape(-1)[0])
    raise DataError(
        "a float output that is one number per sample",
        _shapes(outputs),
        "The metric spearman is for models that predict a number.",
    )


def class_of(label: Label, classes: int) -> int:
    """The label as an index of the model's classes.

    Raises:
        DataError: The model has no such class.
    """
    if isinstance(label, int) and 0 <= label < classes:
        return label
    raise DataError(
        f"labels from 0 to {classes - 1}, as many as the model has classes",
        f"the label {label!r}",
        "Check that the data belongs to this model, and how its labels are numbered.",
    )


def hits(outputs: Feed, label: Label) -> NDArray[np.float64]:
    """[top-1 hit, top-5 hit, number of classes]; of equal numbers the first class wins."""
    z = logits(outputs)
    index = class_of(label, z.size)
    rank = int((z > z[index]).sum() + (z[:index] == z[index]).sum())
    return np.array([rank < 1, rank < 5, z.size], np.float64)


def accuracies(rows: NDArray[np.float64]) -> dict[str, float]:
    """Accuracy, and top-5 accuracy where there are more than five classes, from rows of `hits`."""
    found = {"accuracy": float(rows[:, 0].mean())}
    if rows[0, 2] > 5:
        found["top5"] = float(rows[:, 1].mean())
    return found


def _shapes(outputs: Feed) -> str:
    return ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in outputs.items())
