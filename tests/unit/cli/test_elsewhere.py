"""Files for a machine that is not this one: a target whose runtime is not installed here."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import pytest
import yaml

import gossamer
from gossamer import plugins
from zoo.explicit import faults
from zoo.placed import agreement

GPU = ("ort-cuda", "tensorrt")
ABSENT = [n for n in GPU if not plugins.load("runtimes", n)().is_installed()]
pytestmark = pytest.mark.skipif(list(GPU) != ABSENT, reason="the runtimes of GPUs are here")


def recipe_of(finished: Path, folder: Path, label: str) -> Path:
    """The recipe of the first candidate with that label."""
    record = yaml.safe_load((finished / "recipe.yaml").read_text())
    candidates = json.loads((finished / "result.json").read_text())["candidates"]
    record["recipe"] = next(c["recipe"] for c in candidates if c["label"].startswith(label))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(record))
    return folder / "recipe.yaml"


def test_a_recipe_for_tensorrt_is_written_without_it(
    model: Path, finished: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(finished, tmp_path, "static")

    artifact = gossamer.rerun(recipe, tmp_path / "out", target="tensorrt")

    written = ir.load(artifact.path)
    assert (artifact.runtime, artifact.files) == ("tensorrt", ("model.onnx",))
    assert "trtexec --onnx=model.onnx" in artifact.elsewhere
    assert "--optShapes=image:1x3x16x16" in artifact.elsewhere
    assert artifact.plan is not None
    assert [d.op for d in artifact.plan.quantized] == ["Conv"]  # the first has three channels
    assert faults(written, artifact.plan) == []
    assert agreement(ir.load(model), written) > 35  # one layer in 8 bits


def test_the_command_line_prints_what_is_left_to_do(finished: Path, tmp_path: Path, call) -> None:
    recipe = recipe_of(finished, tmp_path, "static")
    recipe.write_text(recipe.read_text().replace("target: ort-cpu", "target: tensorrt"))

    done = call("run", recipe, "--out", tmp_path / "out")

    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1  # the digest of the one file
    assert "No GPU took this file yet" in done.err
    assert "\ntrtexec --onnx=model.onnx" in done.err


def test_a_float_file_for_onnx_runtime_on_a_gpu_is_the_model_itself(
    model: Path, finished: Path, tmp_path: Path, call
) -> None:
    recipe = recipe_of(finished, tmp_path, "float32")

    done = call("run", recipe, "--target", "ort_cuda", "--out", tmp_path / "out")

    assert "onnxruntime-gpu" in done.err
    assert agreement(ir.load(model), ir.load(tmp_path / "out" / "model" / "model.onnx")) > 100


def test_static_int8_is_nothing_that_onnx_runtime_has_on_a_gpu(
    finished: Path, tmp_path: Path, call
) -> None:
    recipe = recipe_of(finished, tmp_path, "static")

    done = call("run", recipe, "--target", "ort-cuda", "--out", tmp_path / "out")

    assert done.code == 2
    assert "quantize-weights" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", GPU)
def test_compress_cannot_measure_there_and_says_what_can_be_done(
    target: str, model: Path, data: Path, tmp_path: Path, call
) -> None:
    done = call("compress", model, "--data", data, "--target", target, "--out", tmp_path / "out")

    assert done.code == 2
    assert f"gossamer[{target}]" in done.err
    assert f"gossamer run recipe.yaml --target {target}" in done.err
    assert "NVIDIA GPU" in done.err
    assert not (tmp_path / "out").exists()


def test_without_a_target_nothing_is_tried_there(model: Path, data: Path, call) -> None:
    done = call("compress", model, "--data", data, "--dry-run")

    assert done.code == 0, done.err
    assert not any(target in done.out for target in GPU)


@pytest.mark.parametrize("target", GPU)
def test_explain_needs_no_runtime_and_tells_what_is_unproven(
    target: str, model: Path, call
) -> None:
    done = call("explain", model, "--target", target)

    assert done.code == 0, done.err
    assert f"{target}, on NVIDIA GPUs" in done.out
    assert "unproven: " in done.out


def test_list_tells_what_is_unproven(call) -> None:
    done = call("list", "targets")

    assert set(GPU) <= set(done.out.splitlines())  # names alone, for programs
    told = [line.split(":")[0] for line in done.err.splitlines() if "not measured" in line]
    assert told == list(GPU)


def test_a_target_that_does_not_exist_is_told_before_any_work(
    finished: Path, tmp_path: Path, call
) -> None:
    done = call("run", finished / "recipe.yaml", "--target", "tensor-rt", "--out", tmp_path / "out")

    assert done.code == 2
    assert "Did you mean tensorrt" in done.err
