"""What a model is judged by: data in disjoint splits, and a score that can be resampled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from gossamer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed
    from gossamer.source import FloatModel, TensorType

DEFAULT_CALIBRATION = 128
Label = int | float | str | tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRequest:
    """Which data a task is to open, and for which model.

    Attributes:
        path: File or folder with samples; None lets `fidelity` synthesise inputs.
        calibration_path: Data used for calibration alone.
        seed: Draws the splits.
        length: Length of synthesised sequences.
    """

    model: FloatModel
    path: Path | None = None
    calibration_path: Path | None = None
    seed: int = 0
    length: int = 128


class Samples(ABC):
    """Rows of a data set, readable again in any order, one at a time (never all in memory)."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def feed(self, index: int) -> Feed:
        """One array per model input, in the input's dtype, leading (batch) axis 1, unpadded."""

    def label(self, index: int) -> Label:  # noqa: ARG002 - unlabelled data has none
        """The label of one row, None without labels."""
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Some rows of a data set, in a fixed order."""

    samples: Samples
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def feeds(self) -> Iterator[Feed]:
        """The inputs of every row."""
        return (self.samples.feed(i) for i in self.indices)

    def rows(self) -> Iterator[tuple[Feed, Label]]:
        """Inputs and label of every row."""
        return ((self.samples.feed(i), self.samples.label(i)) for i in self.indices)


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskData:
    """The three disjoint splits, and where they come from.

    Attributes:
        synthetic: The inputs were made up from the model's signature.
        files: Files and folders that were read, for the recipe (with sha256 there).
        description: What was found out about the data (preprocessing, classes, columns ...), for
            the report.
        remarks: What is to be known before scores on the data are believed, in whole sentences.
    """

    calibration: Split
    search: Split
    report: Split
    synthetic: bool = False
    files: tuple[Path, ...] = ()
    description: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        splits = {"calibration": self.calibration, "search": self.search, "report": self.report}
        rows = [(id(s.samples), i) for s in splits.values() for i in s.indices]
        if len(set(rows)) != len(rows):
            raise DataError(
                "splits without a row in common",
                "a row that is in two splits",
                "This is a fault of the task: every row belongs to one split.",
            )
        if empty := [name for name, split in splits.items() if not len(split)]:
            raise DataError(
                "at least one row for each of calibration, search and report",
                f"none for {' and '.join(empty)}",
                "Give more data.",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Task(ABC):
    """One way to judge a model. Fields are the options that a user may set.

    A score is computed from rows of per-sample sufficient statistics, so that it can be
    recomputed on any resampling of the samples: that is what paired intervals are made of.
    """

    default_drop: ClassVar[str] = "0.5%"
    needs_reference: ClassVar[bool] = False
    waits_for_weights: ClassVar[bool] = False  # its models are run a token at a time

    @property
    @abstractmethod
    def metric_name(self) -> str:
        """Name of the score."""

    @property
    def higher_is_better(self) -> bool:
        """Direction of the score."""
        return True

    def resolved(self, model: FloatModel) -> Self:  # noqa: ARG002 - most tasks leave nothing open
        """The same task with every option filled in that the user left to the model."""
        return self

    @abstractmethod
    def open(self, request: DataRequest) -> TaskData:
        """The data, checked against the model's inputs.

        Raises:
            DataError: Nothing there, empty, unreadable, does not fit the model, NaN or Inf, one
                class only.
        """

    @abstractmethod
    def row(self, outputs: Feed, label: Label, reference: Feed | None) -> NDArray[np.float64]:
        """Sufficient statistics of one sample, `[k]`; k is the same for every sample.

        Raises:
            MeasureError: NaN or Inf among the outputs, or outputs that cannot be compared.
            DataError: A label that the model cannot predict.
        """

    @abstractmethod
    def score(self, rows: NDArray[np.float64]) -> float:
        """The score of samples given by their rows `[n, k]`; n may repeat samples."""

    def metrics(self, rows: NDArray[np.float64]) -> dict[str, float]:
        """What is reported beside the score, by name; the score itself included."""
        return {self.metric_name: self.score(rows)}


def affordable(split: Split, rows: int) -> Split:
    """The split, or `rows` of it spread evenly if it has more."""
    if len(split) <= rows:
        return split
    chosen = np.linspace(0, len(split) - 1, rows).astype(int)
    return Split(samples=split.samples, indices=tuple(split.indices[i] for i in chosen))


def split_indices(
    total: int, seed: int, calibration: int = DEFAULT_CALIBRATION
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Indices of calibration, search and report of one folder or file.

    Calibration is min(`calibration`, half of it), the rest is halved (contract, "Scores").

    Raises:
        DataError: Fewer than 4 samples, so that a split would be empty.
    """
    if total < 4:
        raise DataError(
            "at least 4 samples, to calibrate, search and report on different ones",
            f"{total}",
            "Give more data, or none: inputs are then synthesised for the task fidelity.",
        )
    first = min(calibration, total // 2)
    return _parts(total, seed, (first, first + (total - first) // 2))


def halves(total: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of search and report of data whose calibration rows come from elsewhere.

    Raises:
        DataError: Fewer than 2 samples, so that a split would be empty.
    """
    if total < 2:
        raise DataError(
            "at least 2 samples, to search and report on different ones",
            f"{total}",
            "Give more data.",
        )
    _, search, report = _parts(total, seed, (0, total // 2))
    return search, report


def training_indices(total: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of calibration and search of a training set whose report rows lie elsewhere.

    Calibration is min(128, half of it); the search gets all of the rest.

    Raises:
        DataError: Fewer than 2 samples, so that a split would be empty.
    """
    if total < 2:
        raise DataError(
            "at least 2 training samples, to calibrate and search on different ones",
            f"{total}",
            "Give more data.",
        )
    calibration, search, _ = _parts(total, seed, (min(DEFAULT_CALIBRATION, total // 2), total))
    return calibration, search


def draw(total: int, count: int, seed: int) -> tuple[int, ...]:
    """`count` of `total` indices drawn by seed, sorted; all of them if fewer."""
    return _parts(total, seed, (count, total))[0]


def example(inputs: Sequence[TensorType], sample: Feed, batch: int, length: int) -> Feed:
    """A feed of the asked batch and length, made of one sample by repeating and cutting it.

    Axis 0 is the batch where the model leaves it open. Any other open axis whose name speaks of a
    sequence gets `length`; the rest keep the sample's own size.
    """
    feed = {}
    for tensor in inputs:
        x = sample[tensor.name]
        for axis, dimension in enumerate(tensor.shape or ()):
            if isinstance(dimension, int):
                continue
            if axis == 0:
                x = _resize(x, axis, batch)
            elif dimension is not None and is_sequence(dimension):
                x = _resize(x, axis, length)
        feed[tensor.name] = np.ascontiguousarray(x)
    return feed


def has_sequence(inputs: Iterable[TensorType]) -> bool:
    """Whether `example` asks for a length at all."""
    axes = (d for tensor in inputs for d in (tensor.shape or ())[1:])
    return any(isinstance(d, str) and is_sequence(d) for d in axes)


def is_sequence(dimension: str) -> bool:
    """Whether the name of an open axis speaks of a sequence."""
    name = dimension.lower()
    return any(word in name for word in ("seq", "length", "token", "time", "len"))


def _parts(
    total: int, seed: int, cuts: tuple[int, int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    order = np.random.default_rng(seed).permutation(total)
    first, second, third = np.split(order, cuts)
    return _sorted(first), _sorted(second), _sorted(third)


def _sorted(indices: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(sorted(int(i) for i in indices))


def _resize(x: NDArray[np.generic], axis: int, size: int) -> NDArray[np.generic]:
    repeats = -(-size // max(x.shape[axis], 1))
    return np.take(np.concatenate([x] * repeats, axis=axis), np.arange(size), axis=axis)
