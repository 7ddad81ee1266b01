"""What an ONNX file takes and gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.errors import SourceError
from gossamer.source import TensorType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import onnx_ir as ir

    from gossamer.source import Dimension

Signature = tuple[tuple[TensorType, ...], tuple[TensorType, ...]]
# Exporters write these where they know nothing; as names they would tie unrelated axes together.
_NO_NAMES = {"", "?", "None"}


def read_signature(path: Path) -> Signature:
    """Inputs (without weights listed among them) and outputs of an ONNX file; no weights are read.

    Raises:
        SourceError: Not a model, or one that takes or gives something other than tensors.
    """
    from gossamer.sources._onnx_read import read_model

    return signature_of(read_model(path))


def signature_of(model: ir.Model) -> Signature:
    """Inputs (without weights listed among them) and outputs of a graph.

    Raises:
        SourceError: One of them is no tensor.
    """
    weights = set(model.graph.initializers)
    inputs = (value for value in model.graph.inputs if value.name not in weights)
    return _types(inputs), _types(model.graph.outputs)


def _types(values: Iterable[ir.Value]) -> tuple[TensorType, ...]:
    return tuple(_tensor_type(value) for value in values)


def _tensor_type(value: ir.Value) -> TensorType:
    import onnx_ir as ir

    if not isinstance(value.type, ir.TensorType) or value.dtype is None:
        received = "no type" if value.type is None else type(value.type).__name__
        raise SourceError(
            "inputs and outputs that are tensors",
            f"{value.name!r} with {received}",
            "Export the model with typed tensors.",
        )
    shape = None if value.shape is None else tuple(_dimension(d) for d in value.shape)
    return TensorType(name=value.name or "", dtype=value.dtype.numpy().name, shape=shape)


def _dimension(dimension: int | ir.SymbolicDim) -> Dimension:
    if isinstance(dimension, int):
        return dimension if dimension >= 0 else None  # -1 is how some exporters write "open"
    name = dimension.value
    return None if name is None or name in _NO_NAMES else str(name)
