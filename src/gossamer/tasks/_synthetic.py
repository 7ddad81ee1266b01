"""Inputs made up from a model's signature, for lack of data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import DataError
from gossamer.source import Dimension, TensorType
from gossamer.task import Samples, is_sequence
from gossamer.tasks._config import max_positions
from gossamer.tasks._dtypes import dtype_of

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from gossamer.runtime import Feed
    from gossamer.source import FloatModel

IMAGE_SIDE = 224
AUDIO_SAMPLES = 16_000
# identifiers where the file does not show how many there are
UNKNOWN_VOCABULARY = 100
CHANNELS = (1, 3, 4)
# what stands between an input and the table that it indexes
_PASSING = ("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose")


@dataclass(frozen=True, kw_only=True, eq=False)
class Synthetic(Samples):
    """Made-up rows, drawn by seed and index: the same index gives the same row on every machine.

    Floats are normal with mean 0 and variance 1; whole numbers are drawn below the size of the
    table that they index; masks are 1, token types 0, positions count up.

    Attributes:
        limits: For each integer input, numbers are drawn below this.
        shapes: Shape of each input.
    """

    inputs: tuple[TensorType, ...]
    shapes: dict[str, tuple[int, ...]]
    limits: dict[str, int]
    count: int
    seed: int

    @classmethod
    def of(cls, model: FloatModel, *, count: int, seed: int, length: int) -> Synthetic:
        """Rows for a model; open axes of sequences get `length`, or what the model can take.

        Raises:
            DataError: An input of unknown rank, or one that does not take numbers.
        """
        whole = [t.name for t in model.inputs if dtype_of(t).kind in "iu"]
        is_readable = model.path.suffix == ".onnx"
        tables = _table_sizes(model.path, whole) if whole and is_readable else {}
        length = min(length, max_positions(model) or length)
        return cls(
            inputs=model.inputs,
            shapes={t.name: _shape(t, length) for t in model.inputs},
            limits={t.name: tables.get(t.name) or _limit(t) for t in model.inputs},
            count=count,
            seed=seed,
        )

    def __len__(self) -> int:
        return self.count

    def feed(self, index: int) -> Feed:
        """The made-up inputs of one row."""
        rng = np.random.default_rng([self.seed, index])
        return {t.name: self._values(t, rng) for t in self.inputs}

    def _values(self, tensor: TensorType, rng: np.random.Generator) -> NDArray[np.generic]:
        shape, dtype, words = self.shapes[tensor.name], dtype_of(tensor), tensor.name.lower()
        if "mask" in words or dtype.kind == "b":
            return np.ones(shape, dtype)
        if dtype.kind not in "iu":
            return rng.standard_normal(shape).astype(dtype)
        limit = self.limits[tensor.name]
        if "token_type" in words or "segment" in words:
            return np.zeros(shape, dtype)
        if "position" in words:
            steps = np.minimum(np.arange(shape[-1] if shape else 1), limit - 1)
            return np.broadcast_to(steps, shape).astype(dtype)
        return rng.integers(0, limit, shape).astype(dtype)


def _shape(tensor: TensorType, length: int) -> tuple[int, ...]:
    """The shape with every open axis filled in."""
    if tensor.shape is None:
        raise DataError(
            "inputs of known rank, to make up data",
            f"the input {tensor.name} without a shape",
            "Give data with --data inputs.npz, one array per input.",
        )
    sides = _image_axes(tensor.shape)
    sizes = []
    for axis, dimension in enumerate(tensor.shape):
        if isinstance(dimension, int) and dimension > 0:
            sizes.append(dimension)
        elif axis == 0:
            sizes.append(1)
        elif axis in sides:
            sizes.append(IMAGE_SIDE)
        elif len(tensor.shape) == 4 and not (isinstance(dimension, str) and is_sequence(dimension)):
            sizes.append(3 if sides else 1)
        else:
            sizes.append(_series(tensor, length))
    return tuple(sizes)


def _image_axes(shape: tuple[Dimension, ...]) -> tuple[int, ...]:
    """Axes of height and width in an input that looks like an image."""
    if len(shape) != 4 or any(isinstance(d, str) and is_sequence(d) for d in shape):
        return ()
    if shape[1] in CHANNELS:
        return (2, 3)
    if shape[3] in CHANNELS:
        return (1, 2)
    return () if isinstance(shape[1], int) else (2, 3)


def _series(tensor: TensorType, length: int) -> int:
    """Size of an open axis that is no side of an image: steps of a sequence, or of a sound."""
    words = tensor.name.lower()
    rank = len(tensor.shape or ())
    is_sound = any(word in words for word in ("audio", "wave", "speech", "input_values"))
    return AUDIO_SAMPLES if is_sound and rank == 2 and dtype_of(tensor).kind == "f" else length


def _limit(tensor: TensorType) -> int:
    dtype = dtype_of(tensor)
    if dtype.kind not in "iu":
        return 0
    most = int(np.iinfo(dtype.name).max) + 1
    is_image = tensor.shape is not None and len(tensor.shape) == 4
    return min(256 if is_image else UNKNOWN_VOCABULARY, most)


def _table_sizes(path: Path, names: list[str]) -> dict[str, int]:
    """Rows of the smallest table that each input looks things up in; weights stay unread."""
    import onnx_ir as ir

    graph = ir.load(path).graph
    sizes = {}
    for value in graph.inputs:
        rows = _rows(value) if value.name in names else math.inf
        if value.name is not None and rows != math.inf:
            sizes[value.name] = int(rows)
    return sizes


def _rows(value: ir.Value) -> float:
    """The smallest number of rows over every Gather that takes `value` as indices."""
    least = math.inf
    for node, position in value.uses():
        if node.op_type in _PASSING and position == 0 and node.outputs:
            least = min(least, _rows(node.outputs[0]))
        elif node.op_type == "Gather" and position == 1:
            axis = node.attributes.get_int("axis", 0)
            table = node.inputs[0]
            shape = table.shape if table is not None else None
            rows = shape[axis] if shape is not None and axis < len(shape) else None
            if isinstance(rows, int):
                least = min(least, rows)
    return least
