"""Sweeps that cannot begin: exit code 2, a message that says what to do, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoo import sequences
from zoo.sequences import run_of, written

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sequences.folder(tmp_path_factory.mktemp("swept"))


@pytest.fixture
def refused(call: Call, folder: Path, tmp_path: Path) -> Call:
    """Runs sweep on what cannot be used: gives the error, once nothing was written."""

    def refused(runs: Any = None, *options: object, **changed: Any) -> str:
        found = run_of(folder, **changed) if runs is None else runs
        path, out = written(tmp_path / "bad.yaml", found), tmp_path / "never" / "out"
        done = call("sweep", path, "--out", out, *options)
        told = " ".join(done.err.split())
        assert done.code == 2, told
        assert done.out == ""
        assert not out.parent.exists()
        assert "needed" in told
        assert "received" in told
        return told

    return refused


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"per_chanel": True}, "Did you mean per_channel"),
        ({"per_channel": "yes"}, "true or false for per_channel"),
        ({"framework": "onnxruntme"}, "Did you mean onnxruntime"),
        ({"quantization_approach": "statc"}, "Did you mean static"),
        ({"calibration": {"method": "percentil"}}, "Did you mean percentile"),
        ({"calibration": {"methd": "minmax"}}, "Did you mean method"),
        ({"calibration": "minmax"}, "a mapping for calibration"),
        ({"framework_args": {"intra_op_num_threads": 0}}, "at least one thread"),
        ({"framework_args": {"optimization_level": 3}}, "0, 1, 2, 99"),
        ({"batch_sizes": [0]}, "at least 1 for batch_sizes"),
        ({"input_lengths": ["a"]}, "a whole number for input_lengths"),
        ({"time_benchmark_args": {"duration": 0}}, "a duration above 0"),
        ({"time_benchmark_args": {"durations": 1}}, "Did you mean duration"),
        ({"per_channel": []}, "an empty list"),
        ({"metrics": ["accurcy"]}, "Did you mean accuracy"),
        ({"task": "clasification"}, "Did you mean classification"),
        ({"model_name_or_path": "nowhere.onnx"}, "nowhere.onnx"),
        ({"dataset": {"path": "glue", "name": "sst2"}}, "Data sets of a hub are not fetched"),
        ({"dataset": {"pth": "x"}}, "Did you mean path"),
        ({"dataset": {"path": ["x"]}}, "str for dataset.path"),
    ],
)
def test_values_that_do_not_exist(refused: Call, changed: dict[str, Any], said: str) -> None:
    assert said in refused(**changed)


def test_a_split_that_is_not_there_is_met_with_its_neighbour(refused: Call, folder: Path) -> None:
    path = str(folder / "texts")

    assert "dev.npz" in refused(dataset={"path": path, "eval_split": "validation"})
    file = {"path": f"{path}/dev.npz", "eval_split": "dev"}
    assert "Name the folder, or leave the splits out" in refused(dataset=file)


@pytest.mark.parametrize("runs", [[], "text", [1], {"task": "classification"}, None])
def test_files_that_hold_no_runs(refused: Call, runs: Any) -> None:
    refused({} if runs is None else runs)


def test_runs_about_different_models(refused: Call, folder: Path) -> None:
    runs = [run_of(folder), run_of(folder, model_name_or_path="other.onnx")]

    assert "the same model_name_or_path in every run" in refused(runs)


def test_resuming_and_overwriting_at_once(refused: Call) -> None:
    assert "Choose one" in refused(None, "--resume", "--overwrite")


def test_a_file_that_is_not_there(call: Call, tmp_path: Path) -> None:
    done = call("sweep", tmp_path / "no.yaml", "--json")
    assert done.code == 2
    assert "no.yaml" in done.document["error"]["needed"]


def test_a_folder_of_somebody_else_is_not_resumed(call: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()

    path = written(tmp_path / "s.yaml", run_of(folder))

    assert "sweep wrote" in call("sweep", path, "--out", tmp_path / "out", "--resume").err
