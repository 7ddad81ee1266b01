"""Files with Q/DQ as ONNX Runtime's own quantizer writes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from gossamer.graph.sites import Site


class Rows(CalibrationDataReader):
    def __init__(self, name: str, rows: Sequence[NDArray[np.generic]]) -> None:
        self._rows = iter([{name: row} for row in rows])

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._rows, None)


def by_ort(path: Path, out: Path, rows: Sequence[NDArray[np.generic]]) -> Path:
    """`path` with weights of 7 bits, which do not overflow on any CPU."""
    logging.disable(logging.WARNING)  # it asks for its own preparation of the graph
    try:
        name = onnx.load(path).graph.input[0].name
        quantize_static(
            path, out, Rows(name, rows), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    return out


def narrowed(path: Path, out: Path, site: Site, factor: float = 16.0) -> Path:
    """The same file with the range of what `site` reads divided by a number."""
    model = ir.load(path)
    (value,) = [v for n in model.graph for v in n.outputs if v.name == site.reads[0].value]
    (quantize,) = [u.node for u in value.uses() if u.node.op_type == "QuantizeLinear"]
    scale = quantize.inputs[1]
    assert scale is not None
    assert scale.const_value is not None
    scale.const_value = ir.Tensor(scale.const_value.numpy() / np.float32(factor), name=scale.name)
    ir.save(model, out)
    return out
