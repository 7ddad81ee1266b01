"""Finished graphs in older opsets: the same outputs, or a reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from gossamer.errors import BuildError
from gossamer.sources import lower

HEAD = '<ir_version: 8, opset_import: ["": 18]> g (float[n, 4, 8] x) => (float[n, m, k] y)'
ONES = ",".join("1" * 32)
GRAPHS = {
    "nothing new": "{ a = Relu(x)  y = Add(a, x) }",
    "axes of a sum": "<int64[1] axes = {1}> { y = ReduceSum(x, axes) }",
    "axes of a mean": "<int64[1] axes = {2}> { y = ReduceMean<keepdims = 1>(x, axes) }",
    "an axis in": "<int64[1] axes = {0}> { a = Unsqueeze(x, axes)  y = Squeeze(a, axes) }",
    "a norm": "<float[8] s = {1,2,3,4,5,6,7,8}, float[8] b = {1,1,1,1,1,1,1,1}> "
    "{ y = LayerNormalization<epsilon = 0.1>(x, s, b) }",
    "a norm of two axes": f"<float[4, 8] s = {{{ONES}}}> "
    "{ y = LayerNormalization<axis = 1>(x, s) }",
    "sizes": "{ b = Shape<start = 1>(x)  a = Shape<end = 1>(x)  all = Concat<axis = 0>(a, b)  "
    "y = Reshape<allowzero = 1>(x, all) }",
    "one scale": "<float s = {0.1}, int8 z = {0}> "
    "{ q = QuantizeLinear(x, s, z)  y = DequantizeLinear<axis = 1>(q, s, z) }",
}


def written(folder: Path, body: str) -> Path:
    path = folder / "model.onnx"
    onnx.save(onnx.parser.parse_model(f"{HEAD} {body}"), path)
    return path


def output(path: Path) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float32)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("opset", [17, 13, 12])
def test_what_is_said_in_an_older_opset_computes_the_same(
    name: str, opset: int, tmp_path: Path
) -> None:
    path = written(tmp_path, GRAPHS[name])
    expected = output(path)

    lower(path, opset, tolerance=1e-5)

    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == opset
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read
    np.testing.assert_allclose(output(path), expected, atol=1e-5)  # other sums of the same numbers
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("body", "opset", "said"),
    [
        ("{ y = Mish(x) }", 17, "Mish '.*', which it does not have"),
        (
            "{ s = Shape(x)  a = Sub(s, s)  b = Slice(a, a, a)  y = ReduceSum(x, s) }",
            12,
            "computes",
        ),
        (
            "<float[8] s = {1,1,1,1,1,1,1,1}, int8[8] z = {0,0,0,0,0,0,0,0}> "
            "{ q = QuantizeLinear<axis = 2>(x, s, z)  y = DequantizeLinear<axis = 2>(q, s, z) }",
            12,
            "has the attribute axis",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_and_the_file_stays(
    body: str, opset: int, said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, body)
    before = path.read_bytes()

    with pytest.raises(BuildError, match=said):
        lower(path, opset, tolerance=1e-5)

    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_what_meant_something_else_is_refused(tmp_path: Path) -> None:
    """Until opset 12 Softmax was over all axes from its own on."""
    path = written(tmp_path, "{ y = Softmax<axis = 1>(x) }")

    with pytest.raises(BuildError, match=r"a difference of .* in the output 'y'"):
        lower(path, 12, tolerance=1e-5)


def test_a_real_network_can_be_said_in_opset_11(real: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(real / "cifar10" / "resnet20.onnx", path)

    lower(path, 11, tolerance=0.0)

    assert onnx.load(path).opset_import[0].version == 11
