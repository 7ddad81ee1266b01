"""Which weights of a model are damaged: NaN or Inf where a number must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx_ir as ir

_COMPUTE = {
    "Attention",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "Einsum",
    "GRU",
    "Gemm",
    "GroupNormalization",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "MatMul",
    "MatMulNBits",
    "RNN",
}
_MOVES = {"Cast", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_CHUNK = 1 << 24


def check_weights(model: ir.Model, path: Path | str) -> None:
    """Nothing, if every weight is a number.

    1. NaN is refused in weights of compute operators and in any tensor of more than one element.
    2. Inf is refused in weights of compute operators alone: masks and clipping bounds hold it.

    Raises:
        SourceError: Naming the first such weight; or its data cannot be read.
    """
    for value, tensor in _constants(model):
        if not tensor.dtype.is_floating_point():
            continue
        try:
            bad = _first_bad(tensor)
        except Exception as error:
            raise SourceError(
                f"readable data for the weight {value.name!r} of {path}",
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
                "The file is damaged: export or copy it again.",
            ) from error
        if bad is None:
            continue
        feeds_compute = _feeds_compute(value)
        if feeds_compute or (bad == "NaN" and tensor.size > 1):
            raise SourceError(
                "finite weights",
                f"{bad} in {value.name!r} of {path}",
                "The model was damaged in training or export; no runtime can use such weights.",
            )


def parameter_count(model: ir.Model) -> int:
    """Number of floating-point weights."""
    return sum(int(t.size) for _, t in _constants(model) if t.dtype.is_floating_point())


def _constants(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """Initializers and outputs of Constant nodes, in which old exporters keep weights."""
    import onnx_ir as ir

    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value
        for node in graph:
            attribute = node.attributes.get("value") if node.op_type == "Constant" else None
            if attribute is not None and attribute.type == ir.AttributeType.TENSOR:
                yield node.outputs[0], attribute.as_tensor()


def _first_bad(tensor: ir.TensorProtocol) -> str | None:
    flat = tensor.numpy().reshape(-1)
    infinite = False
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        finite = np.isfinite(part)
        if finite.all():
            continue
        if np.isnan(part[~finite]).any():
            return "NaN"
        infinite = True
    return "Inf" if infinite else None


def _feeds_compute(value: ir.Value) -> bool:
    seen = {value}
    todo = [value]
    while todo:
        for node in todo.pop().consumers():
            if node.op_type in _COMPUTE:
                return True
            if node.op_type in _MOVES and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                todo.append(node.outputs[0])
    return False
