"""Samples from `.npz` files: one file for all of them, or a folder with one file per sample."""

from __future__ import annotations

import difflib
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import DataError
from gossamer.task import Samples
from gossamer.tasks._dtypes import cast, check_cast, dtype_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed
    from gossamer.source import FloatModel, TensorType
    from gossamer.task import Label

NEEDED = "an .npz file with one array per model input, or a folder with one .npz per sample"
LABELS = "labels"
# values looked at in one go when searching for NaN and Inf, so that the mask stays small
_CHUNK = 1 << 22


def open_arrays(path: Path, model: FloatModel, *, labelled: bool) -> Samples:
    """The samples of one `.npz` file or of a folder of them, every value checked.

    Raises:
        DataError: Unreadable, arrays missing, left over, of unequal length, of another shape or
            type than the model's inputs, NaN or Inf; without usable labels if `labelled`.
    """
    if labelled and any(tensor.name == LABELS for tensor in model.inputs):
        raise DataError(
            "labels beside the model's inputs",
            "a model that has an input called labels",
            "Its array cannot be both; judge this model with the task fidelity.",
        )
    if not path.is_dir():
        return _open_file(path, model.inputs, labelled=labelled)
    files = tuple(sorted(p for p in path.iterdir() if p.suffix.lower() == ".npz"))
    if not files:
        raise DataError(NEEDED, f"the folder {path} without any .npz", "Check --data.")
    if len(files) == 1:  # with a leading axis of 1 both readings are the same; else only this one
        return _open_file(files[0], model.inputs, labelled=labelled)
    labels = tuple(_check_one(file, model.inputs, labelled=labelled) for file in files)
    return ArrayFolder(files=files, inputs=model.inputs, labels=labels if labelled else ())


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayFile(Samples):
    """Samples along axis 0 of arrays in memory (held once, converted row by row)."""

    inputs: tuple[TensorType, ...]
    arrays: dict[str, NDArray[np.generic]]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def feed(self, index: int) -> Feed:
        """One row of each array, with the leading axis that the model's input has."""
        return {t.name: cast(_batched(self.arrays[t.name][index], t), t) for t in self.inputs}

    def label(self, index: int) -> Label:
        """The class of one row."""
        return None if self.labels is None else int(self.labels[index])


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayFolder(Samples):
    """Samples of any sizes, one file each, read when asked for."""

    files: tuple[Path, ...]
    inputs: tuple[TensorType, ...]
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def feed(self, index: int) -> Feed:
        """The arrays of one file."""
        arrays = _read(self.files[index], tuple(t.name for t in self.inputs))
        return {t.name: cast(_batched(arrays[t.name], t), t) for t in self.inputs}

    def label(self, index: int) -> Label:
        """The class of one file."""
        return self.labels[index] if self.labels else None


def _open_file(path: Path, inputs: tuple[TensorType, ...], *, labelled: bool) -> ArrayFile:
    arrays = _wanted(path, inputs, labelled=labelled)
    for name, array in arrays.items():
        if array.ndim == 0:
            raise DataError(
                "arrays with samples along their first axis",
                f"{name} with shape () in {path}",
                "Axis 0 of each array counts the samples.",
            )
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(
            "the same number of samples in every array",
            f"{', '.join(f'{name}: {n}' for name, n in lengths.items())} in {path}",
            "Axis 0 of each array counts the samples.",
        )
    if 0 in lengths.values():
        raise DataError("at least one sample", f"empty arrays in {path}", "Give more data.")
    labels = _classes(arrays.pop(LABELS), path) if labelled else None
    for tensor in inputs:
        array = arrays[tensor.name]
        _check_shape(array.shape, _batched(array[0], tensor).shape, tensor, path)
        _check_values(array, tensor, path)
    return ArrayFile(inputs=inputs, arrays=arrays, labels=labels)


def _check_one(path: Path, inputs: tuple[TensorType, ...], *, labelled: bool) -> int:
    """The label of a file that holds one sample; 0 if labels are not asked for."""
    arrays = _wanted(path, inputs, labelled=labelled)
    for tensor in inputs:
        array = arrays[tensor.name]
        _check_shape(array.shape, _batched(array, tensor).shape, tensor, path)
        _check_values(array, tensor, path)
    if not labelled:
        return 0
    labels = _classes(arrays[LABELS].reshape(-1), path)
    if labels.size != 1:
        raise DataError(
            "one label per file in a folder of .npz files",
            f"{labels.size} in {path}",
            "Save each sample with its own label, or all in one .npz.",
        )
    return int(labels[0])


def _batched(row: NDArray[np.generic], tensor: TensorType) -> NDArray[np.generic]:
    """One sample as it is fed: with a leading 1 if its rank lacks one axis."""
    row = np.asarray(row)
    if tensor.shape is None or row.ndim == len(tensor.shape) - 1:
        return row[None]
    return row


def _wanted(
    path: Path, inputs: tuple[TensorType, ...], *, labelled: bool
) -> dict[str, NDArray[np.generic]]:
    names = tuple(tensor.name for tensor in inputs)
    found = _names(path)
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"one array per model input: {', '.join(names)}",
            f"the arrays {', '.join(found) or '(none)'} in {path}",
            _missing_hint(missing, tuple(n for n in found if n not in names)),
        )
    if extra := [name for name in found if name not in (*names, LABELS)]:
        raise DataError(
            f"arrays for the model inputs alone: {', '.join(names)} (and labels)",
            f"also {', '.join(extra)} in {path}",
            "Leave out what the model does not take.",
        )
    if labelled and LABELS not in found:
        raise DataError(
            "an array labels with one class number per sample",
            f"the arrays {', '.join(found)} in {path}",
            "Add it, or judge by agreement with the float model: --task fidelity.",
        )
    return _read(path, (*names, LABELS) if labelled else names)


def _missing_hint(missing: list[str], spare: tuple[str, ...]) -> str:
    hints = []
    for name in missing:
        near = difflib.get_close_matches(name, spare, n=1, cutoff=0.5) or spare[:1]
        spare = tuple(n for n in spare if n not in near)
        hints.append(f"save {near[0]} as {name}" if near else f"add {name}")
    text = ", ".join(hints)
    return f"{text[0].upper()}{text[1:]}: np.savez(path, **{{{missing[0]!r}: array}})."


def _names(path: Path) -> tuple[str, ...]:
    with _archive(path) as archive:
        return tuple(archive.files)


def _read(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    with _archive(path) as archive:
        arrays = {}
        for name in names:
            try:
                arrays[name] = archive[name]
            except ValueError as error:
                hint = "Arrays of Python objects are never read; save numbers."
                raise DataError("arrays of numbers", f"{name} in {path}: {error}", hint) from error
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError) as error:
                raise _unreadable(path, error) from error
            if not isinstance(arrays[name], np.ndarray):
                raise _unreadable(path, f"{name} is no array")
        return arrays


@contextmanager
def _archive(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    try:
        with path.open("rb") as file:  # numpy leaves a file of its own open if it is cut off
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(
                    NEEDED, f"{path}, one bare array", "np.savez(path, input_name=array)."
                )
            with archive:
                yield archive
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception | str) -> DataError:
    return DataError(
        "an .npz file as np.savez writes it",
        f"{path}, which cannot be read ({error})",
        "It may be cut off or of another format; write it again.",
    )


def _classes(array: NDArray[np.generic], path: Path) -> NDArray[np.int64]:
    values = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    numbers = values.astype(np.float64) if values.dtype.kind in "iufb" else None
    whole = numbers is not None and bool(np.isfinite(numbers).all() and (numbers % 1 == 0).all())
    if numbers is None or values.ndim != 1 or not whole or (numbers < 0).any():
        raise DataError(
            "labels that are class numbers 0, 1, 2 ..., one per sample",
            f"{array.dtype} of shape {array.shape} in {path}",
            "Negative, fractional and text labels have no place among the model's outputs.",
        )
    return numbers.astype(np.int64)


def _check_shape(
    stored: tuple[int, ...], fed: tuple[int, ...], tensor: TensorType, path: Path
) -> None:
    shape = tensor.shape
    if shape is None:
        return
    agree = len(fed) == len(shape) and all(
        not isinstance(want, int) or want == have for want, have in zip(shape, fed, strict=True)
    )
    if agree:
        return
    wanted = " x ".join("?" if d is None else str(d) for d in shape)
    raise DataError(
        f"one sample of {tensor.name} to fit {wanted}",
        f"{' x '.join(map(str, fed))}, from an array of shape {stored} in {path}",
        "An array with the rank of the input is fed with a leading 1, one with a rank more as is.",
    )


def _check_values(array: NDArray[np.generic], tensor: TensorType, path: Path) -> None:
    where = f"{tensor.name} in {path}"
    check_cast(array, dtype_of(tensor), where)
    if array.dtype.kind != "f":
        return
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        bad = np.flatnonzero(~np.isfinite(flat[start : start + _CHUNK]))
        if bad.size:
            index = np.unravel_index(start + int(bad[0]), array.shape)
            place = tuple(int(i) for i in index)
            raise DataError(
                "finite numbers",
                f"{flat[start + int(bad[0])]} at index {place} of {where}",
                "Remove the sample or repair it.",
            )
