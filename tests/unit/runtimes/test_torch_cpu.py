"""The reader of ONNX files for torch: every operator against ONNX Runtime, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.bench import installed
from gossamer.errors import BuildError, MeasureError
from gossamer.runtime import Feed
from gossamer.search.prepare import installed_targets
from zoo import runnable
from zoo.placed import ORT, TORCH, block, conv_relu_conv, feed, quantized, residual, sqnr

pytestmark = pytest.mark.torch

LINE = np.linspace(-2, 2, 2 * 6 * 8 * 8, dtype=np.float32).reshape(2, 6, 8, 8)
IMAGE: Feed = {"x": np.ascontiguousarray(np.sin(3 * LINE))}
POSITIVE: Feed = {"x": np.abs(IMAGE["x"]) + np.float32(0.1)}
ROWS: Feed = {"x": np.cos(LINE).reshape(2, 6, 64)[:, :, :12]}
PAIR: Feed = {"x": IMAGE["x"], "z": np.cos(LINE)}
NOISE: Feed = {"x": np.random.default_rng(0).standard_normal((2, 6, 8), np.float32)}
UNARY = (
    *("Abs", "Neg", "Exp", "Erf", "Sign", "Sin", "Cos", "Tanh", "Sigmoid", "Relu", "Floor", "Ceil"),
    *("Round", "Softplus", "HardSwish", "LeakyRelu", "Elu", "HardSigmoid", "Identity", "Shape"),
    *("Size", "Flatten", "Softmax", "LogSoftmax", "GlobalAveragePool", "GlobalMaxPool"),
)
NODES = {
    **{op: (f"y = {op}(x)", IMAGE) for op in UNARY},
    **{op: (f"y = {op}(x)", POSITIVE) for op in ("Log", "Sqrt", "Reciprocal")},
    **{op: (f"y = {op}(x, z)", PAIR) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")},
    **{op: (f"y = {op}(x, z)", PAIR) for op in ("Equal", "Greater", "Less", "GreaterOrEqual")},
    "LessOrEqual": ("y = LessOrEqual(x, z)", PAIR),
    "Pow": ("two = Constant <value_float = 2.0> () y = Pow(x, two)", IMAGE),
    "integer Div": ("s = Shape(x) two = Constant <value_int = 5> () y = Div(s, two)", IMAGE),
    "Mod": ("s = Shape(x) two = Constant <value_int = 5> () y = Mod(s, two)", IMAGE),
    "Clip": ("low = Constant <value_float = 0.1> () y = Clip(x, low)", IMAGE),
    "PRelu": ("y = PRelu(x, z)", PAIR),
    "Where": ("c = Less(x, z) y = Where(c, x, z)", PAIR),
    "logic": ("a = Less(x, z) b = IsNaN(x) n = Not(b) o = Or(a, b) p = And(o, n) y = Xor(p, a)",
              PAIR),
    "Cast": ("y = Cast <to = 7> (x)", IMAGE),
    "Gelu": ("y = Gelu <approximate = \"tanh\"> (x)", IMAGE),
    "ReduceMean": ("a = Constant <value_ints = [2, -1]> () y = ReduceMean(x, a)", IMAGE),
    "ReduceSum": ("y = ReduceSum <keepdims = 0> (x)", IMAGE),
    "ReduceMax": ("a = Constant <value_ints = [1]> () y = ReduceMax <keepdims = 0> (x, a)", IMAGE),
    "ReduceMin": ("y = ReduceMin(x)", IMAGE),
    "ReduceL2": ("a = Constant <value_ints = [1]> () y = ReduceL2(x, a)", IMAGE),
    "ReduceSum of none": ("y = ReduceSum <noop_with_empty_axes = 1> (x)", IMAGE),
    "ArgMax": ("y = ArgMax <axis = 1> (x)", IMAGE),
    "ArgMin": ("y = ArgMin <axis = -1, keepdims = 0> (x)", IMAGE),
    "MatMul": ("t = Transpose <perm = [0, 1, 3, 2]> (z) y = MatMul(x, t)", PAIR),
    "LayerNormalization": ("g = Constant <value_floats = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]>"
                           " () y = LayerNormalization(x, g)", NOISE),
    "MaxPool": ("y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [0, 0, 1, 1]> (x)",
                IMAGE),
    "AveragePool": ("y = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1]> (x)", IMAGE),
    "Reshape": ("s = Constant <value_ints = [0, -1, 4]> () y = Reshape(x, s)", IMAGE),
    "Transpose": ("y = Transpose(x)", IMAGE),
    "Unsqueeze": ("a = Constant <value_ints = [0, -1]> () u = Unsqueeze(x, a) y = Squeeze(u, a)",
                  IMAGE),
    "Slice": ("s = Constant <value_ints = [1, -3]> () e = Constant <value_ints ="
              " [9223372036854775807, -1]> () a = Constant <value_ints = [1, 2]> ()"
              " y = Slice(x, s, e, a)", IMAGE),
    "Slice backwards": ("s = Constant <value_ints = [-1]> () e = Constant <value_ints ="
                        " [-9223372036854775807]> () a = Constant <value_ints = [3]> ()"
                        " b = Constant <value_ints = [-2]> () y = Slice(x, s, e, a, b)", IMAGE),
    "Gather": ("i = Constant <value_ints = [0, -1]> () y = Gather <axis = 1> (x, i)", IMAGE),
    "Gather one": ("i = Constant <value_int = -2> () y = Gather <axis = 2> (x, i)", IMAGE),
    "GatherElements": ("i = ArgMax <axis = 1> (x) y = GatherElements <axis = 1> (x, i)", IMAGE),
    "GatherND": ("i = Constant <value = int64[2, 2] {0, 1, 1, 5}> () y = GatherND(x, i)", IMAGE),
    "Concat": ("y = Concat <axis = 1> (x, z)", PAIR),
    "Split": ("a, b, c, d = Split <axis = 2, num_outputs = 4> (x) y = Add(b, d)", IMAGE),
    "Expand": ("m = ReduceMean(x) s = Constant <value_ints = [6, 1, 1]> () y = Expand(m, s)",
               IMAGE),
    "Pad": ("p = Constant <value_ints = [0, 0, 1, 0, 0, 2, 0, 3]> () v = Constant <value_float ="
            " 0.5> () y = Pad(x, p, v)", IMAGE),
    "Pad edge": ("p = Constant <value_ints = [0, 0, 1, 0, 0, 0, 0, 3]> () y = Pad <mode = \"edge\">"
                 " (x, p)", IMAGE),
    "Tile": ("r = Constant <value_ints = [1, 2, 1, 3]> () y = Tile(x, r)", IMAGE),
    "ConstantOfShape": ("s = Shape(x) c = ConstantOfShape <value = float[1] {2.0}> (s)"
                        " y = Mul(c, x)", IMAGE),
    "Range": ("n = Size(x) a = Constant <value_int = 0> () b = Constant <value_int = 3> ()"
              " y = Range(a, n, b)", IMAGE),
    "Trilu": ("y = Trilu <upper = 0> (x)", IMAGE),
    "CumSum": ("a = Constant <value_int = 1> () y = CumSum(x, a)", IMAGE),
    "Resize": ("f = Constant <value_floats = [1.0, 1.0, 2.0, 3.0]> () y = Resize <mode ="
               " \"nearest\"> (x, , f)", IMAGE),
    "Dropout": ("y = Dropout(x)", IMAGE),
    "BiasGelu": ("b = Constant <value_floats = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0,"
                 " 10.0, 11.0]> () y = com.microsoft.BiasGelu(x, b)", ROWS),
    "MultiHeadAttention": ("m = Constant <value = float[1, 1, 6, 6] {" + ", ".join(["0.5"] * 36) +
                           "}> () y = com.microsoft.MultiHeadAttention <num_heads = 3>"
                           " (x, x, x, , , m)", ROWS),
}  # fmt: skip
LAYERS = {
    "Conv": ("y = Conv <pads = [1, 1, 1, 1], group = 2> (x, w, b)", (4, 3, 3, 3)),
    "Conv of unequal pads": ("y = Conv <pads = [0, 1, 2, 1], strides = [2, 2]> (x, w, b)",
                             (4, 6, 3, 3)),
    "ConvTranspose": ("y = ConvTranspose <strides = [2, 2]> (x, w, b)", (6, 4, 2, 2)),
    "Conv and Relu": ("c = Conv(x, w, b) y = Relu(c)", (4, 6, 1, 1)),
    "Conv and Relu read twice": ("c = Conv(x, w, b) r = Relu(c) y = Sub(r, c)", (4, 6, 1, 1)),
    "BatchNormalization": ("c = Conv(x, w, b) v = Abs(b) y = BatchNormalization(c, b, b, b, v)",
                           (4, 6, 1, 1)),
    "Gemm": ("f = Flatten <axis = 3> (x) t = ReduceMean <keepdims = 0> (w)"
             " y = Gemm <alpha = 0.5, beta = 2.0, transA = 1> (f, f)", (4, 6, 1, 1)),
}  # fmt: skip


def written(folder: Path, nodes: str, data: Feed, weight: tuple[int, ...] | None = None) -> Path:
    """A file with `nodes` from the inputs to `y`; weights `w` of that shape and a bias `b`."""
    types = {"float32": "float", "int64": "int64"}
    inputs = ", ".join(
        f"{types[x.dtype.name]}[{', '.join(map(str, x.shape))}] {name}" for name, x in data.items()
    )
    more = ""
    if weight is not None:
        size = int(np.prod(weight))
        numbers = [f"{np.sin(i):.3f}" for i in range(size)]
        more = f"<float[{', '.join(map(str, weight))}] w = {{{', '.join(numbers)}}},"
        more += " float[4] b = {0.5, -1.0, 0.25, 2.0}>"
    kind = "com.microsoft" in nodes
    imports = '"": 20' + (', "com.microsoft": 1' if kind else "")
    text = f"<ir_version: 9, opset_import: [{imports}]> g ({inputs}) => (y) {more} {{ {nodes} }}"
    model = onnx.parser.parse_model(text)
    inferred = onnx.shape_inference.infer_shapes(model)
    if not inferred.graph.output[0].type.HasField("tensor_type"):  # of an operator of ORT's own
        inferred.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    path = folder / "given.onnx"
    onnx.save(inferred, path)
    return path


def both(path: Path, data: Feed) -> tuple[Feed, Feed]:
    """What ONNX Runtime and torch make of it."""
    found = []
    for name in ("ort", "torch-cpu"):
        runtime = plugins.load("runtimes", name)()
        found.append(runtime.open(path, threads=1, precision="f32").run(data))
    return found[0], found[1]


def check(path: Path, data: Feed) -> None:
    expected, got = both(path, data)
    assert expected["y"].dtype == got["y"].dtype
    # float32 on both: other orders of summation, other polynomials for exp and erf
    np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NODES)
def test_an_operator_gives_what_onnx_runtime_gives(name: str, tmp_path: Path) -> None:
    nodes, data = NODES[name]
    check(written(tmp_path, nodes, data), data)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_what_onnx_runtime_gives(name: str, tmp_path: Path) -> None:
    nodes, shape = LAYERS[name]
    check(written(tmp_path, nodes, IMAGE, shape), IMAGE)


def test_branches_and_loops_run(tmp_path: Path) -> None:
    path = runnable.branching(tmp_path)
    for flag in (False, True):
        data: Feed = {"x": np.array([-1.5, 0.5], np.float32), "flag": np.array(flag)}
        check(path, data)


def made(model: ir.Model, folder: Path, target: str) -> tuple[Path, ir.Model]:
    spec = {"torch-cpu": TORCH, "ort-cpu": ORT}[target]
    int8, plan = quantized(model, spec)
    assert plan.quantized
    path = folder / "int8.onnx"
    path.write_bytes(ir.to_proto(int8).SerializeToString())
    return path, int8


@pytest.mark.parametrize("target", ["torch-cpu", "ort-cpu"])
@pytest.mark.parametrize("build", [conv_relu_conv, residual, block])
def test_int8_files_give_what_onnx_runtime_gives(
    build: object, target: str, tmp_path: Path
) -> None:
    model: ir.Model = build()  # type: ignore[operator]
    path, _ = made(model, tmp_path, target)
    data = feed(model)

    expected, got = both(path, data)

    # a value in the middle between two steps may be rounded to either: one step of 255
    assert sqnr(expected["y"], got["y"]) > 38


NOT_KNOWN = "operators that the reader for torch-cpu knows; received "


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ("y = Det(x)", "Det"),
        ("y = Resize <mode = \"linear\"> (x, , f)", "Resize"),
        ("y = MaxPool <kernel_shape = [2, 2], auto_pad = \"SAME_UPPER\"> (x)", "auto_pad SAME"),
    ],
    ids=["unknown", "form", "padding"],
)  # fmt: skip
def test_what_torch_is_not_called_for_is_refused_by_name(
    nodes: str, told: str, tmp_path: Path
) -> None:
    scales = "f = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> () "
    path = written(tmp_path, scales + nodes, IMAGE)
    with pytest.raises(BuildError, match=f"{NOT_KNOWN}.*{told}"):
        plugins.load("runtimes", "torch-cpu")().build(path, tmp_path / "built")


def test_old_opsets_are_refused(tmp_path: Path) -> None:
    model = onnx.load(written(tmp_path, "y = Relu(x)", IMAGE))
    model.opset_import[0].version = 12
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(BuildError, match=r"opset 13 or newer.*received opset 12"):
        plugins.load("runtimes", "torch-cpu")().open(tmp_path / "old.onnx", threads=1)


def test_what_a_kernel_says_becomes_an_error_of_the_measurement(tmp_path: Path) -> None:
    data: Feed = {"x": IMAGE["x"], "i": np.array([7])}
    session = plugins.load("runtimes", "torch-cpu")().open(
        written(tmp_path, "y = Gather <axis = 1> (x, i)", data), threads=1
    )
    with pytest.raises(MeasureError, match="torch said: "):
        session.run(data)


def test_outputs_are_nobody_elses_memory(tmp_path: Path) -> None:
    path = written(tmp_path, "y = Identity(x)", IMAGE)
    session = plugins.load("runtimes", "torch-cpu")().open(path, threads=1)
    y: NDArray[np.generic] = session.run(IMAGE)["y"]
    assert not np.shares_memory(y, IMAGE["x"])


def test_it_is_used_only_where_it_is_named() -> None:
    assert "torch-cpu" not in installed_targets((), "portable")
    assert "torch-cpu" not in installed()
    assert installed_targets(("torch_cpu",), "portable") == ("torch-cpu",)
