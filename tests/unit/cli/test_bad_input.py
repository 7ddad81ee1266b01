"""Bad input ends with exit code 2, a message that says what to do, and nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from zoo import runnable

HIDE = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "openvino" else real(name, *a)
sys.modules["openvino"] = None
"""


@pytest.fixture
def refused(call, tmp_path: Path):
    """Runs compress on what cannot be used: gives the error, once nothing was written."""

    def refused(model: object, *options: object, out: Path | None = None) -> str:
        folder = out or tmp_path / "never" / "out"
        done = call("compress", model, "--target", "ort-cpu", "--out", folder, *options)
        told = " ".join(done.err.split())
        assert done.code == 2, told
        assert done.out == ""
        assert out is not None or not (tmp_path / "never").exists()
        assert "needed" in told
        assert "received" in told
        return told

    return refused


def changed(data: Path, target: Path, **arrays: object) -> Path:
    with np.load(data) as found:
        content = {**found, **arrays}
    np.savez(target, **{k: v for k, v in content.items() if v is not None})
    return target


def test_a_file_that_is_no_model(refused, tmp_path: Path) -> None:
    assert "a text file" in refused(runnable.garbage(tmp_path))


def test_a_model_that_is_not_there_is_met_with_its_neighbour(refused, model: Path) -> None:
    assert f"Did you mean {model}" in refused(model.with_name("smal.onnx"))


def test_a_truncated_model(refused, model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:-100])

    assert "truncated" in refused(cut)


def test_external_data_that_is_missing(refused, tmp_path: Path) -> None:
    found = runnable.affine(tmp_path, external="weights.bin")
    (tmp_path / "weights.bin").unlink()

    assert "weights.bin" in refused(found)


def test_external_data_that_leaves_the_folder(refused, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    path = runnable.affine(inner, external="weights.bin")
    (inner / "weights.bin").rename(tmp_path / "weights.bin")
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    path.write_bytes(proto.SerializeToString())

    assert "../weights.bin" in refused(path)


def test_an_opset_that_cannot_be_read(refused, model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    proto.opset_import[0].version = 999
    onnx.save(proto, tmp_path / "future.onnx")

    assert "999" in refused(tmp_path / "future.onnx")


def test_weights_with_nan_are_named(refused, model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    (tensor,) = (t for t in proto.graph.initializer if t.name == "w2")
    values = np.frombuffer(tensor.raw_data, "<f4").copy()
    values[3] = np.nan
    tensor.raw_data = values.tobytes()
    onnx.save(proto, tmp_path / "nan.onnx")

    assert "w2" in refused(tmp_path / "nan.onnx")


def test_data_without_an_array_for_an_input(refused, model, data, tmp_path: Path) -> None:
    found = changed(data, tmp_path / "other.npz", image=None, picture=np.zeros((9, 3, 16, 16)))

    assert "picture" in refused(model, "--data", found)


def test_data_of_another_shape(refused, model, data, tmp_path: Path) -> None:
    image = np.zeros((96, 3, 8, 8), np.float32)

    assert "8 x 8" in refused(model, "--data", changed(data, tmp_path / "s.npz", image=image))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_with_numbers_that_are_none(
    refused, model, data, tmp_path: Path, value: float
) -> None:
    image = np.zeros((96, 3, 16, 16), np.float32)
    image[5, 1, 2, 3] = value

    told = refused(model, "--data", changed(data, tmp_path / "bad.npz", image=image))
    assert f"{value}" in told
    assert "5" in told


def test_data_without_rows(refused, model, data, tmp_path: Path) -> None:
    image = np.zeros((0, 3, 16, 16), np.float32)
    found = changed(data, tmp_path / "empty.npz", image=image, labels=np.zeros(0, np.int64))

    assert "at least one" in refused(model, "--data", found)


def test_labels_of_one_class_only(refused, model, data, tmp_path: Path) -> None:
    found = changed(data, tmp_path / "one.npz", labels=np.zeros(96, np.int64))

    assert "two different labels" in refused(model, "--task", "classification", "--data", found)


def test_data_that_is_not_there(refused, model, tmp_path: Path) -> None:
    assert "does not exist" in refused(model, "--data", tmp_path / "nowhere.npz")


def test_a_task_that_the_outputs_do_not_fit(refused, tmp_path: Path) -> None:
    graph = """<ir_version: 8, opset_import: ["": 18]>
        g (float[batch, 2] x) => (float[batch, 1] y) <float[2, 1] w = {1.0, 2.0}>
        { y = MatMul(x, w) }"""
    found = tmp_path / "one.onnx"
    onnx.save(onnx.parser.parse_model(graph), found)
    np.savez(tmp_path / "d.npz", x=np.ones((40, 2), np.float32), labels=np.arange(40) % 2)

    told = refused(found, "--task", "classification", "--data", tmp_path / "d.npz")
    assert "--task fidelity" in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--task", "clasification"), "Did you mean classification"),
        (("--target", "ort-cp"), "Did you mean ort-cpu"),
        (("--cpu", "avx51"), "avx512"),
        (("--max-drop", "1"), "0.5pt"),
        (("--budget", "soon"), "10m"),
        (("--channel-order", "rgb"), "a field of fidelity"),
        (("--exclude", "Convv"), "Did you mean Conv"),
        (("--resume", "--overwrite"), "Choose one"),
    ],
)
def test_values_that_do_not_exist(
    refused, model: Path, options: tuple[str, ...], said: str
) -> None:
    assert said in refused(model, *options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compress", "m.onnx", "--targt", "x"), "--target"),
        (("compres", "m.onnx"), "compress"),
        (("compress",), "MODEL"),
        (("compress", "m.onnx", "--trials", "0"), "--trials"),
        (("bench", "m.onnx", "--seconds", "0"), "--seconds"),
        (("bench", "m.onnx", "--batch", "0"), "--batch"),
        (("bench", "m.onnx", "--runtime", "ortt"), "ort"),
        (("eval", "m.onnx", "--task", "fidelty", "--data", "d"), "m.onnx"),
        (("list", "target"), "targets"),
        (("run", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_arguments_that_do_not_exist(call, arguments: tuple[str, ...], said: str) -> None:
    done = call(*arguments)
    assert done.code == 2, done.err
    assert said in done.err
    assert done.out == ""


def test_with_json_an_error_is_a_document_on_stdout(call) -> None:
    for arguments in (("compress", "nowhere.onnx"), ("compress", "m.onnx", "--targt", "x")):
        done = call(*arguments, "--json")
        assert done.code == 2
        assert done.err == ""
        assert done.document["verdict"] == "failed"
        assert all(done.document["error"][k] for k in ("type", "message", "needed", "received"))


def test_an_output_folder_below_a_file(refused, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "the file" in refused(model, out=tmp_path / "file" / "out")


def test_an_output_folder_where_nothing_can_be_written(refused, model: Path) -> None:
    assert "permission" in refused(model, out=Path("/proc/gossamer-out"))


def test_a_folder_of_the_user_s_is_neither_used_nor_resumed(
    refused, model: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("text")

    assert "--overwrite" in refused(model, out=mine)
    assert "thesis.txt" in refused(model, "--resume", out=mine)
    assert [p.name for p in mine.iterdir()] == ["thesis.txt"]


def test_bad_input_leaves_a_folder_that_was_to_be_overwritten_as_it_was(
    refused, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "old"
    (out / "model").mkdir(parents=True)
    (out / "model" / "model.onnx").write_text("an earlier result")
    (out / "result.json").write_text("{}")

    refused(model, "--overwrite", "--data", tmp_path / "nowhere.npz", out=out)

    assert (out / "model" / "model.onnx").read_text() == "an earlier result"
    assert {p.name for p in out.iterdir()} == {"model", "result.json"}


@pytest.mark.parametrize(
    ("section", "changed", "told"),
    [
        ("source", {"modell": "model.onnx"}, "model (str)"),
        ("data", {"seed": 0, "length": "long"}, "length (int)"),
        ("data", {"seed": 0, "length": 128, "data": {"paht": "data.npz"}}, "path (str)"),
        ("calibration", 3, "threads (int)"),
        (
            "calibration",
            {"targets": ["ort-cpu"], "cpu": "portable", "threads": 1, "exclude": ["conv1"]},
            "ort-cpu (list) in exclude",
        ),
        ("recipe", {"target": "ort-cpu", "sede": 1}, "seed"),
    ],
)
def test_a_recipe_that_was_edited_badly(
    section: str, changed: object, told: str, finished: Path, tmp_path: Path, call
) -> None:
    record = yaml.safe_load((finished / "recipe.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**record, section: changed}))

    done = call("run", tmp_path / "recipe.yaml", "--out", tmp_path / "again")

    assert done.code == 2
    assert told in done.err
    assert not (tmp_path / "again").exists()


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    out = tmp_path / "out"
    options = ("--json", "--target", "openvino-cpu", "--out", str(out))
    code = "from gossamer.cli.main import main; import sys; main(sys.argv[1:])"

    done = subprocess.run(
        [sys.executable, "-c", code, "compress", str(model), *options],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 2, done.stderr
    assert "pip install 'gossamer[openvino]'" in json.loads(done.stdout)["error"]["hint"]
    assert not out.exists()
