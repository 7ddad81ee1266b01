"""Small ONNX files, written as text, and how they are opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from gossamer.source import FloatModel
from gossamer.sources import find

Write = Callable[..., Path]
Open = Callable[[Path], FloatModel]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a graph given in ONNX's text syntax, and gives its path."""

    def write(
        graph: str, *, opset: int = 18, ir_version: int = 8, imports: str = "", name: str = "model"
    ) -> Path:
        header = f'<ir_version: {ir_version}, opset_import: ["": {opset}{imports}]>'
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(onnx.parser.parse_model(f"{header} {graph}").SerializeToString())
        return path

    return write


@pytest.fixture
def write_external(tmp_path: Path) -> Write:
    """Writes y = x @ w, [N, 64] by [64, 32], with `w` in weights.bin beside the model."""

    def write_external(opset: int = 18, location: str = "weights.bin") -> Path:
        x = ir.Value(name="x", shape=ir.Shape(["N", 64]), type=ir.TensorType(ir.DataType.FLOAT))
        w = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
        (tmp_path / "weights.bin").write_bytes(w.tobytes())
        tensor = ir.ExternalTensor(
            location, 0, w.nbytes, ir.DataType.FLOAT, shape=ir.Shape(w.shape), name="w"
        )
        weight = ir.Value(name="w", shape=tensor.shape, type=x.type, const_value=tensor)
        node = ir.node("MatMul", [x, weight])
        node.outputs[0].name = "y"
        node.outputs[0].type = x.type
        graph = ir.Graph(
            [x], node.outputs, nodes=[node], initializers=[weight], opset_imports={"": opset}
        )
        path = tmp_path / "model.onnx"
        onnx.save(ir.to_proto(ir.Model(graph, ir_version=8)), path)
        return path

    return write_external


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Opens a path as the source that it names, with a cache of its own."""
    return lambda path: find(str(path)).open(tmp_path / "cache")
