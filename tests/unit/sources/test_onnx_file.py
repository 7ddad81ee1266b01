"""ONNX files that open: what the copy in the cache is, and what is known of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from gossamer.errors import StorageError
from gossamer.source import FloatModel, TensorType
from gossamer.sources import find
from gossamer.sources._signature import read_signature

RELU = "g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"
LISTED = """g (float[N, 3] x, float[3, 2] w) => (float[N, 2] y)
    <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"""


def run(path: Path, **feed: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


def said(model: FloatModel, key: str) -> str:
    return dict(model.description)[key]


def test_a_file_with_nothing_to_do_is_copied_byte_for_byte(write, opened) -> None:
    path = write(RELU)
    model = opened(path)

    assert model.path.read_bytes() == path.read_bytes()
    assert model.path != path


def test_inputs_and_outputs_carry_names_dtypes_and_open_axes(write, opened) -> None:
    model = opened(write("g (float16[N, 3] x, int64[] i) => (int64[K] y) { y = Shape(x) }"))

    assert model.inputs == (
        TensorType(name="x", dtype="float16", shape=("N", 3)),
        TensorType(name="i", dtype="int64", shape=None),
    )
    assert model.outputs == (TensorType(name="y", dtype="int64", shape=("K",)),)


@pytest.mark.parametrize("name", ["None", "?"])
def test_an_axis_named_like_nothing_has_no_name(write, opened, name: str) -> None:
    path = write(RELU.replace("N", "batch"))
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = name
    onnx.save(proto, path)

    assert opened(path).inputs[0].shape == (None, 3)


def test_a_graph_without_shapes_opens_without_shape_inference(write, opened) -> None:
    model = opened(write("g (float[] x) => (float[] y) { a = Shape(x) y = Reshape(x, a) }"))

    assert model.inputs[0].shape is None


def test_weights_listed_as_inputs_are_no_inputs(write, opened) -> None:
    path = write(LISTED, opset=7, ir_version=3)
    model = opened(path)

    assert [t.name for t in model.inputs] == ["x"]
    assert [i.name for i in onnx.load(model.path).graph.input] == ["x"]
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(run(model.path, x=x), run(path, x=x))


def test_an_ir_version_newer_than_the_runtime_is_lowered(write, opened) -> None:
    model = opened(write(RELU, ir_version=onnx.IR_VERSION))

    assert run(model.path, x=np.ones((2, 3), np.float32)).shape == (2, 3)


def test_external_data_moves_into_one_file_beside_the_copy(write_external, opened) -> None:
    path = write_external()
    model = opened(path)

    assert sorted(p.name for p in model.path.parent.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
        "source.json",
    ]
    x = np.ones((2, 64), np.float32)
    assert np.array_equal(run(model.path, x=x), run(path, x=x))


def test_external_data_counts_for_the_digest(write_external, opened, tmp_path: Path) -> None:
    path = write_external()
    before = opened(path).digest
    weights = tmp_path / "weights.bin"
    weights.write_bytes(bytes(8) + weights.read_bytes()[8:])

    assert opened(path).digest != before


def test_weights_kept_in_external_constants_are_read(write_external, opened) -> None:
    path = write_external()
    proto = onnx.load(path, load_external_data=False)
    constant = proto.graph.node.add()
    constant.op_type = "Constant"
    constant.output.append("w")
    attribute = constant.attribute.add()
    attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
    attribute.t.CopyFrom(proto.graph.initializer[0])
    del proto.graph.initializer[:]
    proto.graph.node.insert(0, proto.graph.node.pop())
    onnx.save(proto, path)
    x = np.ones((2, 64), np.float32)

    assert np.array_equal(run(opened(path).path, x=x), run(path, x=x))


def test_opening_again_reads_the_cache_and_writes_nothing(write, opened) -> None:
    path = write(LISTED, opset=9)
    first = opened(path)
    written = first.path.stat().st_mtime_ns

    assert opened(path) == first
    assert first.path.stat().st_mtime_ns == written


def test_a_damaged_cache_is_made_anew(write, opened) -> None:
    path = write(RELU)
    first = opened(path)
    first.path.write_bytes(b"")

    assert opened(path).path.read_bytes() == path.read_bytes()


def test_a_failed_opening_leaves_nothing_in_the_cache(write, opened, tmp_path: Path) -> None:
    path = write("g (float[4, 3] x, float[2, 2] w) => (float[N, 3] y) { y = MatMul(x, w) }")
    with pytest.raises(Exception, match="valid ONNX graph"):
        opened(path)

    assert list((tmp_path / "cache" / "source").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_said(write, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="room and permission to write under"):
        find(str(write(RELU))).open(tmp_path / "cache")


def test_the_report_learns_origin_producer_and_parameters(write, opened) -> None:
    path = write(LISTED)
    model = opened(path)

    assert said(model, "kind") == "ONNX file"
    assert said(model, "origin") == str(path)
    assert said(model, "parameters") == "6"
    assert said(model, "opset") == "18"


def test_runtime_and_foreign_domains_are_kept(write, opened) -> None:
    path = write(
        "g (float[N, 3] x) => (float[N, 3] y) { a = com.microsoft.Gelu(x) y = my.own.Thing(a) }",
        imports=', "com.microsoft": 1, "my.own": 3',
    )
    nodes = list(ir.load(opened(path).path).graph)

    assert [(n.domain, n.op_type) for n in nodes] == [
        ("com.microsoft", "Gelu"),
        ("my.own", "Thing"),
    ]


def test_text_among_the_weights_is_kept(write, opened) -> None:
    path = write(
        'g (string[N] x) => (int64[N] y) <string[2] w = {"a", "b"}, int64 i = {0}> {'
        " s = Gather(w, i) e = Equal(x, s) y = Cast<to = 7>(e) }",
        opset=19,
    )

    assert opened(path).inputs[0].dtype == "object"


def test_the_signature_is_read_without_weights(write_external) -> None:
    inputs, outputs = read_signature(write_external())

    assert [t.name for t in inputs + outputs] == ["x", "y"]
    assert outputs[0].shape is None


@pytest.mark.slow
def test_more_than_two_gigabytes_of_weights_open_and_lift(tmp_path: Path) -> None:
    shape = (1024, 1 << 19)
    weights = tmp_path / "weights.bin"
    with weights.open("wb") as file:
        file.truncate(4 * shape[0] * shape[1] + 4096)
    float32 = ir.TensorType(ir.DataType.FLOAT)
    x = ir.Value(name="x", shape=ir.Shape(["N", 1024]), type=float32)
    tensor = ir.ExternalTensor(
        "weights.bin", 4096, 4 * shape[0] * shape[1], float32.dtype, shape=ir.Shape(shape), name="w"
    )
    w = ir.Value(name="w", shape=tensor.shape, type=float32, const_value=tensor)
    nodes = [matmul := ir.node("MatMul", [x, w])]
    nodes.append(ir.node("ReduceSum", matmul.outputs, {"axes": [1]}))
    nodes[-1].outputs[0].name, nodes[-1].outputs[0].type = "y", float32
    graph = ir.Graph([x], nodes[-1].outputs, nodes=nodes, initializers=[w], opset_imports={"": 11})
    onnx.save(ir.to_proto(ir.Model(graph, ir_version=8)), tmp_path / "model.onnx")
    model = find(str(tmp_path / "model.onnx")).open(tmp_path / "cache")

    assert (model.path.parent / "model.onnx.data").stat().st_size == 4 * shape[0] * shape[1]
    assert said(model, "opset") == "11, moved to 18 (outputs equal to the bit)"


@pytest.mark.parametrize("opset", [13, 18])
def test_nodes_that_share_a_name_get_names_of_their_own(write, opened, opset: int) -> None:
    """Today's onnxruntime refuses such files; older ones ran them."""
    path = write("g (float[N, 3] x) => (float[N, 3] y) { a = Relu(x)  b = Exp(a)  y = Neg(b) }")
    proto = onnx.load(path)
    proto.opset_import[0].version = opset
    for node in proto.graph.node:
        node.name = "node"
    onnx.save(proto, path)
    with pytest.raises(Exception, match="two nodes with same node name"):
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    model = opened(path)

    names = [node.name for node in onnx.load(model.path).graph.node]
    assert len(set(names)) == 3
    x = np.float32([[-1, 0, 1]])
    assert np.allclose(run(model.path, x=x), -np.exp(np.maximum(x, 0)))
    if opset < 18:
        assert "outputs equal to the bit" in said(model, "opset")


def test_functions_of_the_model_s_own_are_written_out(write, opened) -> None:
    path = write("g (float[N, 3] x) => (float[N, 3] y) { y = Neg(x) }")
    proto = onnx.load(path)
    function = onnx.parser.parse_function(
        '<opset_import: ["": 18], domain: "own"> Twice (a) => (b) { b = Add(a, a) }'
    )
    proto.functions.append(function)
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "Twice", "own"
    proto.opset_import.add(domain="own", version=1)
    onnx.save(proto, path)

    model = opened(path)

    written = onnx.load(model.path)
    assert [node.op_type for node in written.graph.node] == ["Add"]
    assert not written.functions
    x = np.float32([[-1, 0, 1]])
    assert np.array_equal(run(model.path, x=x), 2 * x)
