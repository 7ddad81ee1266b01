"""`gossamer diagnose`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from zoo import quantized, runnable


@pytest.fixture(scope="session")
def int8(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = np.load(data)["image"][:8]
    folder = tmp_path_factory.mktemp("int8")
    return quantized.by_ort(model, folder / "int8.onnx", [row[None] for row in rows])


@pytest.fixture
def refused(call, model: Path, data: Path, tmp_path: Path):
    """Runs diagnose on what cannot be used: gives the error, once nothing was written."""

    def refused(given: object, *options: object, float_model: Path | None = None) -> str:
        out = tmp_path / "never"
        done = call("diagnose", float_model or model, given, "--data", data, "--out", out, *options)
        told = " ".join(done.err.split())
        assert done.code == 2, told
        assert done.out == ""
        assert not out.exists()
        return told

    return refused


def test_a_good_file_ends_with_0_and_a_table(call, model, data, int8, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(
        "diagnose", model, int8, "--data", data, "--task", "fidelity", "--max-drop", "5%",
        "--samples", 8, "--threads", 1, "--out", out,
    )  # fmt: skip

    assert done.code == 0, done.err
    header, *rows = done.out.splitlines()
    assert header.split()[:3] == ["site", "alone", "dB"]
    assert any("rounding alone" in row for row in rows)
    assert "Nothing to cure: the quantized model is within the budget." in done.out
    page = (out / "diagnosis.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src &#x27;none&#x27;" in page
    assert page.count("<svg") >= 3


def test_a_budget_that_nothing_meets_ends_with_1_and_the_best_recipe(
    call, model, data, int8, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = call(
        "diagnose", model, int8, "--data", data, "--task", "fidelity", "--max-drop", "0.0000001%",
        "--samples", 4, "--threads", 1, "--out", out, "--json",
    )  # fmt: skip

    assert done.code == 1, done.err
    document = done.document
    assert document["schema_version"] == 1
    assert document["outcome"] == "not cured"
    labels = [cure["label"] for cure in document["cures"]]
    assert labels[:2] == ["static mse", "static min-max"]
    assert any(label.endswith("in float") for label in labels)
    assert document["cure"]["score"] == max(cure["score"] for cure in document["cures"])
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["recipe"] == document["cure"]["recipe"]
    again = call("run", out / "recipe.yaml", "--out", tmp_path / "again")
    assert document["cure"]["files"]["model.onnx"] in again.out


def test_the_folder_of_compress_stands_for_its_recipe(
    call, model, finished: Path, tmp_path: Path
) -> None:
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())["recipe"]
    is_static = any("quantize-static" in step for step in recipe["graph-steps"])

    asked = ["--samples", 4, "--threads", 1, "--out", tmp_path / "out", "--json"]
    done = call("diagnose", model, finished, *asked)

    if is_static:
        assert done.code == 0, done.out
        assert done.document["sites"]
    else:
        assert done.code == 2
        assert "the step quantize-static" in done.document["error"]["needed"]


def test_the_cure_of_a_recipe_by_hand_names_the_model(call, model, data, tmp_path: Path) -> None:
    steps = {"target": "ort-cpu", "graph-steps": ["simplify", "fuse", "quantize-static"]}
    record = {"source": "elsewhere.onnx", "task": {"fidelity": {}}, "data": str(data)}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**record, "recipe": steps}))

    asked = ["--samples", 4, "--threads", 1, "--max-drop", "0.0000001%", "--out", tmp_path / "out"]
    done = call("diagnose", model, tmp_path / "mine.yaml", *asked)

    assert done.code == 1, done.err  # nothing is that good, so the best recipe is written
    source = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())["source"]
    assert source["model"] == str(model)
    assert len(source["digest"]) == 64
    assert call("run", tmp_path / "out" / "recipe.yaml", "--out", tmp_path / "again").code == 0


def test_a_float_file_has_no_pairs(refused, model: Path) -> None:
    assert "pairs of QuantizeLinear and DequantizeLinear" in refused(model)


def test_integer_operators_are_told_from_pairs(refused, tmp_path: Path) -> None:
    source = """<ir_version: 8, opset_import: ["": 18]>
        g (uint8[2, 2] a, uint8[2, 2] b) => (int32[2, 2] y) { y = MatMulInteger(a, b) }"""
    onnx.save(onnx.parser.parse_model(source), tmp_path / "integer.onnx")

    told = refused(tmp_path / "integer.onnx")

    assert "but with MatMulInteger" in told
    assert "the form QDQ" in told


def test_another_model_is_refused_by_its_inputs(refused, int8: Path, tmp_path: Path) -> None:
    other = runnable.affine(tmp_path)
    data = tmp_path / "other.npz"
    np.savez(data, x=np.ones((8, 2), np.float32))

    told = refused(int8, "--task", "fidelity", "--data", data, float_model=other)

    assert "inputs x, outputs logits" in told
    assert "inputs image" in told


def test_another_model_is_refused_by_its_values(refused, int8, tmp_path: Path) -> None:
    renamed = onnx.load(int8)
    kept = {"image", "logits", *(i.name for i in renamed.graph.initializer)}
    for node in renamed.graph.node:
        node.output[:] = [n if n in kept else f"other_{n}" for n in node.output]
        node.input[:] = [n if n in kept else f"other_{n}" for n in node.input]
    onnx.save(renamed, tmp_path / "renamed.onnx")

    assert "the float model knows none but outputs" in refused(tmp_path / "renamed.onnx")


def test_data_that_does_not_fit(refused, int8: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", image=np.ones((8, 5), np.float32))

    told = refused(int8, "--data", tmp_path / "bad.npz")

    assert "image" in told


def test_a_recipe_of_another_model(refused, finished: Path, tmp_path: Path) -> None:
    record = yaml.safe_load((finished / "recipe.yaml").read_text())
    record["source"]["digest"] = "0" * 64
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(record))

    told = refused(tmp_path / "other.yaml")

    assert f"the model of the recipe, digest {'0' * 64}" in told


def test_a_target_that_is_not_the_recipes(refused, finished: Path) -> None:
    assert "the target of the recipe, ort-cpu" in refused(finished, "--target", "openvino-cpu")


def test_a_folder_without_a_recipe(refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert "compress writes it into its output folder" in refused(tmp_path / "empty")


def test_a_folder_that_exists_is_left_alone(call, model, data, int8, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    done = call("diagnose", model, int8, "--data", data, "--out", tmp_path)

    assert done.code == 2
    assert "an empty or absent folder" in " ".join(done.err.split())
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
