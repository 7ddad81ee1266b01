"""Scores of predictions against labels, in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


def f1(predicted: Vector, labels: Vector, classes: int) -> float:
    """F1 of class 1 where there are two classes; else the mean over the classes that occur.

    Example:
        >>> f1(np.array([1.0, 1, 0, 0]), np.array([1.0, 0, 1, 0]), classes=2)
        0.5
    """
    if classes == 2:
        return _f1_of(predicted, labels, 1.0)
    present = np.union1d(predicted, labels)
    return float(np.mean([_f1_of(predicted, labels, float(c)) for c in present]))


def matthews(predicted: Vector, labels: Vector) -> float:
    """Matthews correlation, for any number of classes; 0 where one of the two is constant.

    Example:
        >>> matthews(np.array([1.0, 0, 1, 0]), np.array([1.0, 0, 1, 0]))
        1.0
    """
    present, codes = np.unique(np.concatenate([predicted, labels]), return_inverse=True)
    p, y = codes[: len(predicted)], codes[len(predicted) :]
    n, k = float(len(p)), len(present)
    guessed = np.bincount(p, minlength=k).astype(np.float64)
    true = np.bincount(y, minlength=k).astype(np.float64)
    right = float((p == y).sum())
    spread = (n**2 - guessed @ guessed) * (n**2 - true @ true)
    return float((right * n - guessed @ true) / np.sqrt(spread)) if spread > 0 else 0.0


def pearson(x: Vector, y: Vector) -> float:
    """Correlation; 0 where one of the two is constant.

    Example:
        >>> pearson(np.array([1.0, 2, 3]), np.array([3.0, 2, 1]))
        -1.0
    """
    x, y = x - x.mean(), y - y.mean()
    spread = float((x @ x) * (y @ y))
    return float(np.clip((x @ y) / np.sqrt(spread), -1, 1)) if spread > 0 else 0.0


def spearman(x: Vector, y: Vector) -> float:
    """Correlation of ranks; 0 where one of the two is constant.

    Example:
        >>> spearman(np.array([1.0, 10, 100]), np.array([1.0, 2, 3]))
        1.0
    """
    return pearson(ranks(x), ranks(y))


def ranks(x: Vector) -> Vector:
    """Ranks from 1; equal values share the mean of theirs.

    Example:
        >>> ranks(np.array([5.0, 1, 5])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, codes, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Vector = last - (counts - 1) / 2
    return shared[codes]


def _f1_of(predicted: Vector, labels: Vector, positive: float) -> float:
    hits = int(((predicted == positive) & (labels == positive)).sum())
    marked = int((predicted == positive).sum() + (labels == positive).sum())
    return 2 * hits / marked if marked else 0.0
