"""Bad ONNX input: each is refused with a message that says what it is and what to do."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from gossamer.errors import SourceError

RELU = "g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"just some words\n" * 9, "which is a text file"),
        (b"\xff\xfe" + bytes(range(256)), "which is nothing known here"),
        (b"PK\x03\x04" + bytes(50), "a zip archive, such as a PyTorch checkpoint.*package.module"),
        (b"\x80\x02}q\x00.", "a pickle, such as a PyTorch checkpoint"),
        (b'{"architectures": []}', "which is JSON.*give its folder"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer.*git lfs pull"),
        (b"<?xml version='1.0'?><net/>", "XML, such as OpenVINO"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n", "a Keras model"),
        (b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite model"),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"w":', "safetensors weights.*config.json"),
        (b"\x08\x08", "truncated: it holds no graph"),
        (b"\x08\x08\x12\x01a\x7f", "truncated: its parts do not fit"),
    ],
)
def test_a_file_that_is_no_model_is_called_what_it_is(
    tmp_path: Path, opened, content: bytes, said: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"(?s)needed an? .*ONNX model; received .*{said}"):
        opened(path)


def test_random_bytes_are_refused_whatever_they_are(tmp_path: Path, opened) -> None:
    rng = np.random.default_rng(0)
    for size in (1, 10, 1000, 100_000):
        path = tmp_path / "model.onnx"
        path.write_bytes(rng.bytes(size))
        with pytest.raises(SourceError, match="ONNX"):
            opened(path)


def test_every_truncation_is_refused(write, opened) -> None:
    path = write(
        "g (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}>"
        " { y = MatMul(x, w) }"
    )
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError, match="ONNX model"):
            opened(path)


def test_a_truncated_file_says_where_it_ends(write, opened) -> None:
    path = write(RELU)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(SourceError, match=f"truncated: it ends after {len(whole) - 10} bytes"):
        opened(path)


def test_a_file_above_the_limit_of_protobuf_is_refused_unread(tmp_path: Path, opened) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(SourceError, match=r"below 2 GiB.*Save the weights as external data"):
        opened(path)


def test_a_folder_or_pipe_is_no_file(tmp_path: Path) -> None:
    from gossamer.sources.onnx_file import OnnxFile

    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path, tmp_path / "pipe.onnx"):
        with pytest.raises(SourceError, match="which is no file"):
            OnnxFile(text=str(path)).open(tmp_path / "cache")


@pytest.mark.parametrize("opset", [1, 6, onnx.defs.onnx_opset_version() + 1])
def test_an_opset_outside_what_can_be_read_is_refused(write, opened, opset: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    with pytest.raises(SourceError, match=f"opset from 7 to {newest}.*received opset {opset}"):
        opened(write(RELU, opset=opset))


def test_a_model_without_inputs_is_refused(write, opened) -> None:
    with pytest.raises(SourceError, match=r"a model with an input.*none"):
        opened(write("g () => (float[1] y) { y = Constant<value_floats=[1.0]>() }"))


def test_a_model_whose_only_inputs_are_weights_is_refused(write, opened) -> None:
    with pytest.raises(SourceError, match="a model with an input"):
        opened(write("g (float[1] w) => (float[1] y) <float[1] w = {1}> { y = Relu(w) }"))


def test_a_model_without_outputs_is_refused(write, opened) -> None:
    with pytest.raises(SourceError, match=r"a model with an output.*none"):
        opened(write("g (float[1] x) => () { y = Relu(x) }"))


def test_inputs_that_are_no_tensors_are_refused(write, opened) -> None:
    path = write("g (seq(float[N]) x) => (float[N] y) { y = ConcatFromSequence<axis=0>(x) }")
    with pytest.raises(SourceError, match="that are tensors; received 'x' with SequenceType"):
        opened(path)


def test_a_value_made_by_nothing_is_refused(write, opened) -> None:
    path = write("g (float[N] x) => (float[N] y) { y = Add(x, z) }")
    with pytest.raises(SourceError, match="'z', used by Add and made by nothing"):
        opened(path)


def test_an_unknown_operator_of_the_standard_is_refused(write, opened) -> None:
    with pytest.raises(SourceError, match=r"a valid ONNX graph; received .*model.onnx.*Gone"):
        opened(write("g (float[N] x) => (float[N] y) { y = Gone(x) }"))


def test_sparse_weights_are_refused_by_name(write, opened) -> None:
    path = write(RELU)
    proto = onnx.load(path)
    sparse = proto.graph.sparse_initializer.add()
    sparse.values.name = "w"
    onnx.save(proto, path)
    with pytest.raises(SourceError, match=r"dense tensors; received sparse initializers \(w\)"):
        opened(path)


def test_flipped_bytes_end_in_a_model_or_in_a_message(
    write, opened, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(
        "g (float[N, 3] x) => (float[] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { a = MatMul(x, w)"
        " c = Constant<value = float[2] {1, 2}>() b = Add(a, c) y = Softmax<axis=1>(b) }",
        opset=11,
    )
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(80):
        damaged = bytearray(whole)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(SourceError):
            opened(path)

    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("dtype", "said"), [(57, "57 is not a valid DataType"), (0, "data type: UNDEFINED")]
)
def test_weights_of_no_known_type_are_refused(write, opened, dtype: int, said: str) -> None:
    path = write("g (float[N] x) => (float[] y) <float[1] w = {1}> { y = Add(x, w) }")
    proto = onnx.load(path)
    proto.graph.initializer[0].data_type = dtype
    onnx.save(proto, path)
    with pytest.raises(SourceError, match=f"a readable ONNX graph in .*; received .*{said}"):
        opened(path)


# -- external data --


def test_missing_external_data_is_named(write_external, opened, tmp_path: Path) -> None:
    path = write_external()
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(SourceError, match=r"external data file 'weights.bin'.*Copy it there"):
        opened(path)


def test_truncated_external_data_is_named(write_external, opened, tmp_path: Path) -> None:
    path = write_external()
    os.truncate(tmp_path / "weights.bin", 1000)
    with pytest.raises(SourceError, match=r"for 'w'; received bytes 0 to 8,192 .* has 1,000"):
        opened(path)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("/etc/hostname", "absolute path '/etc/hostname'"),
        ("C:\\secret.bin", "absolute path"),
        ("../weights.bin", "'../weights.bin' for 'w', which leaves it"),
        ("a/../../weights.bin", "which leaves it"),
        ("..\\weights.bin", "which leaves it"),
        ("", "no location"),
    ],
)
def test_external_data_outside_the_folder_is_refused(
    write_external, opened, location: str, said: str
) -> None:
    path = write_external()
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = location
    onnx.save(proto, path)
    with pytest.raises(SourceError, match=r"inside the folder of model.onnx") as caught:
        opened(path)
    assert said in str(caught.value)


def test_a_symbolic_link_out_of_the_folder_is_refused(
    write_external, opened, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_external()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.bin"
    (tmp_path / "weights.bin").rename(elsewhere)
    (tmp_path / "weights.bin").symlink_to(elsewhere)
    with pytest.raises(SourceError, match=r"a symbolic link to .*secret.bin.*cp -rL"):
        opened(path)


def test_a_linked_folder_on_the_way_is_refused(
    write_external, opened, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_external(location="sub/weights.bin")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (tmp_path / "weights.bin").rename(elsewhere / "weights.bin")
    (tmp_path / "sub").symlink_to(elsewhere)
    with pytest.raises(SourceError, match="a symbolic link to"):
        opened(path)


def test_external_data_in_a_subfolder_opens(write_external, opened, tmp_path: Path) -> None:
    path = write_external(location="sub/weights.bin")
    (tmp_path / "sub").mkdir()
    (tmp_path / "weights.bin").rename(tmp_path / "sub" / "weights.bin")

    assert opened(path).inputs[0].name == "x"


def test_a_hard_link_to_another_file_is_refused(write_external, opened, tmp_path: Path) -> None:
    path = write_external()
    os.link(tmp_path / "weights.bin", tmp_path / "secret.bin")
    with pytest.raises(SourceError, match=r"a plain file with one name.*has hard links"):
        opened(path)


def test_a_folder_as_external_data_is_refused(write_external, opened, tmp_path: Path) -> None:
    path = write_external()
    (tmp_path / "weights.bin").unlink()
    (tmp_path / "weights.bin").mkdir()
    with pytest.raises(SourceError, match="which is no file"):
        opened(path)


# -- weights --


def weights(path: Path, values: list[float], node: str = "y = MatMul(x, w)") -> Path:
    w = np.array(values, np.float32)
    body = f"g (float[N, {len(w)}] x) => (float[] y) <float[{len(w)}] w> {{ {node} }}"
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> {body}')
    del proto.graph.initializer[:]
    proto.graph.initializer.append(ir.to_proto(ir.Tensor(w, name="w")))
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")])
@pytest.mark.parametrize("node", ["y = MatMul(x, w)", "v = Identity(w) y = MatMul(x, v)"])
def test_weights_that_are_no_numbers_are_named(
    tmp_path: Path, opened, value: float, said: str, node: str
) -> None:
    path = weights(tmp_path / "model.onnx", [1.0, value], node)
    with pytest.raises(SourceError, match=f"finite weights; received {said} in 'w'"):
        opened(path)


def test_nan_in_any_tensor_of_several_elements_is_named(tmp_path: Path, opened) -> None:
    path = weights(tmp_path / "model.onnx", [1.0, np.nan], "y = Add(x, w)")
    with pytest.raises(SourceError, match="NaN in 'w'"):
        opened(path)


@pytest.mark.parametrize("values", [[-np.inf, 0.0], [np.finfo(np.float32).min, 0.0], [np.nan]])
def test_masks_and_markers_may_hold_what_weights_may_not(
    tmp_path: Path, opened, values: list[float]
) -> None:
    path = weights(tmp_path / "model.onnx", values, "y = Add(x, w)")

    assert opened(path).inputs[0].name == "x"


def test_weights_kept_in_constants_are_checked_too(write, opened) -> None:
    path = write(
        "g (float[N, 2] x) => (float[] y) { w = Constant<value = float[2] {1, 2}>()"
        " y = MatMul(x, w) }"
    )
    proto = onnx.load(path)
    proto.graph.node[0].attribute[0].t.CopyFrom(
        ir.to_proto(ir.Tensor(np.array([1, np.nan], np.float32), name="w"))
    )
    onnx.save(proto, path)
    with pytest.raises(SourceError, match="NaN in 'w'"):
        opened(path)


def test_weights_shorter_than_their_shape_are_refused(write, opened) -> None:
    path = write("g (float[N, 2] x) => (float[] y) <float[2] w = {1, 2}> { y = MatMul(x, w) }")
    proto = onnx.load(path)
    proto.graph.initializer[0].dims[0] = 1000
    onnx.save(proto, path)
    with pytest.raises(SourceError, match=r"readable data for the weight 'w'.*damaged"):
        opened(path)


@pytest.mark.parametrize("opset", [16, 18])
def test_a_graph_that_ends_onnx_runtime_ends_no_more(write, opened, opset) -> None:
    path = write(
        """g (float[1, 16, 8, 8] x, bool c) => (float[1, 16, 64] y)
        <int64[3] s = {1, 16, 64}, float size = {0.05}, uint8 z = {128}> {
          q = QuantizeLinear(x, size, z)  a = DequantizeLinear(q, size, z)  r = Reshape(a, s)
          y = If (c) <then_branch = t () => (float[1, 16, 64] u) { u = Neg(r) },
                      else_branch = e () => (float[1, 16, 64] v) { v = Sin(r) }> }""",
        opset=opset,
    )
    with pytest.raises(SourceError, match=r"ends its process with signal 6.*Take Q/DQ out"):
        opened(path)
