"""Recipes with steps on the module: written by hand, run, judged stage by stage, run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import yaml

import gossamer
from gossamer import carried
from gossamer.artifact import sha256
from gossamer.errors import DataError, InputError, OutputError, RecipeError, SourceError
from gossamer.export.agree import outputs_on_ort
from gossamer.sources import find

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
from zoo import kills, trainable  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("quick_clock")]
FIT = {"fit": {"epochs": 6, "learning-rate": 0.01}}


def write(folder: Path, **changed: Any) -> Path:
    """A recipe as a person writes it, into `folder`, with the data that it names."""
    record = {
        "source": "zoo.trainable:make",
        "task": "classification",
        "data": str(trainable.write(folder, 400, seed=1)),
        "training": str(trainable.write(folder, 256, seed=2)),
        "recipe": {"target": "ort-cpu", "module-steps": [FIT], "graph-steps": ["simplify"]},
        **changed,
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in record.items() if v is not None}))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a recipe that was run."""
    folder = tmp_path_factory.mktemp("trained")
    artifact = gossamer.rerun(write(folder), folder / "out")
    assert artifact.folder == folder / "out" / "model"
    return folder / "out"


def test_there_is_a_row_for_every_stage(finished: Path) -> None:
    document = json.loads((finished / "stages.json").read_text())
    first, fitted, without, files = document["stages"]

    assert [row["stage"] for row in document["stages"]] == [
        *("float", "fit", "files of the source", "files")
    ]
    assert without["score"] == pytest.approx(first["score"])
    assert document["n"] == 272  # 400 - 128
    assert first["score"] < 0.6
    assert fitted["score"] > 0.95
    assert fitted["drop"] == pytest.approx(first["score"] - fitted["score"])
    assert fitted["interval"][0] <= fitted["drop"] <= fitted["interval"][1]
    assert files["score"] == pytest.approx(fitted["score"])
    assert first["parameters"] == sum(p.numel() for p in trainable.network().parameters())
    assert all(row["latency_ms"]["median"] > 0 for row in document["stages"])


def test_the_files_the_module_and_the_stages_agree(finished: Path) -> None:
    from safetensors.torch import load_file

    module = trainable.network()
    module.load_state_dict(load_file(finished / "module" / "weights.safetensors"))
    points = trainable.Clouds(16, seed=3).points
    (found,) = outputs_on_ort(finished / "model" / "model.onnx", [{"x": points}])

    with torch.no_grad():
        expected = module(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(next(iter(found.values())), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_two_processes_of_torchrun_make_one_folder(finished: Path, tmp_path: Path) -> None:
    recipe, out = write(tmp_path), tmp_path / "out"
    programs = Path(sys.executable).parent
    launch = [programs / "torchrun", "--nproc-per-node=2", "--no-python", "--standalone"]
    path = str(Path(trainable.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    ended = subprocess.run(
        [*launch, programs / "gossamer", "run", recipe, "--out", out],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("model.onnx") == 1  # only the first process tells
    one, two = (json.loads((f / "stages.json").read_text()) for f in (finished, out))
    assert [row["stage"] for row in two["stages"]] == [row["stage"] for row in one["stages"]]
    assert [row["score"] for row in two["stages"]] == pytest.approx(
        [row["score"] for row in one["stages"]], abs=0.03
    )


def test_the_written_recipe_is_complete(finished: Path) -> None:
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())

    assert len(recipe["source"]["digest"]) == len(recipe["training"]["sha256"]) == 64
    assert len(recipe["data"]["data"]["sha256"]) == 64


def test_a_killed_run_goes_on_in_its_folder_and_gives_the_same_files(
    finished: Path, tmp_path: Path
) -> None:
    recipe, out = finished / "recipe.yaml", tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        gossamer.rerun(recipe, out, kills.AtExport())
    (kept,) = (out / "cache" / "modules").glob("*/trained.safetensors")
    before = kept.stat().st_mtime_ns

    again = gossamer.rerun(recipe, out)

    assert kept.stat().st_mtime_ns == before
    assert again.sha256() == {name: sha256(finished / "model" / name) for name in again.files}
    with pytest.raises(OutputError, match="an empty or absent folder"):
        gossamer.rerun(recipe, out)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"training": "nowhere.npz"}, DataError, "nothing at nowhere.npz"),
        ({"task": None}, RecipeError, "the keys source, task"),
        ({"data": 5}, RecipeError, r"the keys seed \(int\), length \(int\) in data"),
        ({"data": ["a", "b"]}, RecipeError, "in data"),
        ({"calibration": 5}, RecipeError, "in calibration"),
        ({"source": 5}, RecipeError, "in source"),
        ({"teacher": ["a"]}, RecipeError, "in teacher"),
        ({"training": 5}, RecipeError, "in training"),
        ({"training": None}, InputError, "training: PATH"),
        ({"source": "nothing.there:make"}, SourceError, "nothing"),
    ],
)
def test_recipes_that_cannot_be_run_are_refused_before_any_work(
    changed: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        gossamer.rerun(write(tmp_path, **changed), tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_it_does_not_train_on_what_judges(tmp_path: Path) -> None:
    path = str(trainable.write(tmp_path, 64, seed=1))

    with pytest.raises(DataError, match="training data apart from the data that judges"):
        gossamer.rerun(write(tmp_path, data=path, training=path), tmp_path / "out")


def test_it_trains_on_one_part_of_a_folder_and_judges_by_the_other(tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    trainable.write(both, 256, seed=2).rename(both / "train.npz")
    trainable.write(both, 400, seed=1).rename(both / "test.npz")
    recipe = write(tmp_path, data=str(both), training=str(both / "train.npz"))

    gossamer.rerun(recipe, tmp_path / "out")

    assert json.loads((tmp_path / "out" / "stages.json").read_text())["n"] == 400


def test_an_onnx_file_cannot_be_trained(tmp_path: Path, finished: Path) -> None:
    path = write(tmp_path, source=str(finished / "model" / "model.onnx"))

    with pytest.raises(SourceError, match="a model that torch can train"):
        gossamer.rerun(path, tmp_path / "out")


def write_bert(folder: Path) -> tuple[Path, Path, Path]:
    """A tiny BERT that classifies, and two files of texts as numbers."""
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
        )
        transformers.BertForSequenceClassification(config).save_pretrained(folder / "bert")
    random, paths = np.random.default_rng(0), []
    for name, count in (("train", 64), ("judge", 64)):
        ids = random.integers(2, 50, (count, 8))
        inputs = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
        paths.append(folder / f"{name}.npz")
        np.savez(paths[-1], labels=(ids < 25).sum(1) // 5, **inputs)
    return folder / "bert", paths[0], paths[1]


@pytest.mark.slow
def test_ranges_stay_with_a_trained_folder(tmp_path: Path) -> None:
    """What compress opens carries them, and its recipe names that folder."""
    bert, training, data = write_bert(tmp_path)
    fit = {"fit": {"epochs": 1, "techniques": ["quantize-aware"]}}
    recipe = write(
        tmp_path,
        source=str(bert),
        data=str(data),
        training=str(training),
        recipe={
            "target": "ort-cpu",
            "module-steps": [fit],
            "graph-steps": ["simplify", "fuse", "quantize-static"],
        },
    )
    first = gossamer.rerun(recipe, tmp_path / "trained")
    module = tmp_path / "trained" / "module"

    result = gossamer.compress(
        module,
        task="classification",
        data=data,
        targets=["ort-cpu"],
        trials=2,
        out=tmp_path / "out",
    )
    written = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())
    opened = ir.load(find(str(module)).open(tmp_path / "cache").path)

    assert first.plan is not None
    assert any("adopted" in decision.detail for decision in first.plan.quantized)
    assert carried.parse(opened.metadata_props[carried.TRAINED]).keys() == (
        carried.beside(module).keys()
    )
    assert result.winner is not None
    assert written["source"]["model"] == str(module)


@pytest.mark.slow
def test_what_compress_makes_of_a_trained_module_is_one_recipe(tmp_path: Path) -> None:
    bert, training, data = write_bert(tmp_path)
    recipe = write(
        tmp_path,
        source=str(bert),
        data=str(data),
        training=str(training),
        recipe={"target": "ort-cpu", "module-steps": [{"fit": {"epochs": 1}}]},
    )
    gossamer.rerun(recipe, tmp_path / "trained")

    result = gossamer.compress(
        tmp_path / "trained" / "module",
        task="classification",
        data=data,
        targets=["ort-cpu"],
        trials=2,
        out=tmp_path / "out",
    )
    written = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())
    again = gossamer.rerun(tmp_path / "out" / "recipe.yaml", tmp_path / "again")

    assert result.winner is not None
    assert written["source"]["model"] == str(bert)
    assert [next(iter(step)) for step in written["recipe"]["module-steps"]] == ["fit"]
    assert written["recipe"]["graph-steps"] == result.winner.recipe["graph-steps"]
    assert again.sha256() == {n: sha256(tmp_path / "out" / "model" / n) for n in again.files}
