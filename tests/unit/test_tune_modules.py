"""Searches over recipes that train: every candidate starts from what its module steps made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import gossamer
from gossamer.artifact import sha256
from gossamer.errors import DataError, InputError, RecipeError
from gossamer.progress import Silent

pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("optuna")
from zoo import trainable

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("quick_clock"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
FIT = {"fit": {"epochs": {"choice": [1, 6]}, "learning-rate": 0.01}}
STATIC = {"quantize-static": {"weight-bits": {"choice": [8, 7]}}}


def write(folder: Path, **changed: Any) -> Path:
    """A search as a person writes it, into `folder`, with the data that it names."""
    search = {
        "source": "zoo.trainable:make",
        "task": "classification",
        "data": str(trainable.write(folder, 400, seed=1)),
        "training": str(trainable.write(folder, 256, seed=2)),
        "max-drop": "20pt",
        "strategy": "grid",
        "objectives": ["maximize accuracy", "size"],
        "threads": 1,
        "recipe": {
            "target": "ort-cpu",
            "module-steps": [FIT],
            "graph-steps": ["simplify", "fuse", STATIC],
        },
        **changed,
    }
    path = folder / "search.yaml"
    given = {k: v for k, v in search.items() if v is not None}
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


class Stages(Silent):
    """Remembers every stage."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        self.names.append(name)


@pytest.fixture(scope="module")
def stages() -> Stages:
    return Stages()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, stages: Stages) -> gossamer.Result:
    """What a search over two trainings and two numbers of bits found."""
    folder = tmp_path_factory.mktemp("searched")
    search = write(folder, teacher="zoo.trainable:make")
    return gossamer.tune(search, out=folder / "out", progress=stages)


def tried(found: gossamer.Result) -> dict[str, gossamer.Candidate]:
    return {c.label: c for c in found.candidates if not c.is_float}


def test_candidates_differ_by_training_and_by_what_follows(found: gossamer.Result) -> None:
    candidates = tried(found)

    assert sorted(candidates) == [
        "epochs 1, weight-bits 7",
        "epochs 1, weight-bits 8",
        "epochs 6, weight-bits 7",
        "epochs 6, weight-bits 8",
    ]
    assert all(c.status == "ok" for c in candidates.values()), [c.reason for c in found.candidates]
    short, long = (candidates[f"epochs {n}, weight-bits 8"] for n in (1, 6))
    assert (short.score or 0) < (long.score or 0)
    assert found.winner is not None
    assert "epochs 6" in found.winner.label


def test_each_training_is_done_once(found: gossamer.Result, stages: Stages) -> None:
    assert len(tried(found)) == 4
    assert stages.names.count("fit") == 2


def test_the_written_recipe_trains_and_gives_the_winner_again(
    found: gossamer.Result, tmp_path: Path
) -> None:
    written = yaml.safe_load((found.out / "recipe.yaml").read_text())
    again = gossamer.rerun(found.out / "recipe.yaml", tmp_path / "again")

    assert [next(iter(step)) for step in written["recipe"]["module-steps"]] == ["fit"]
    assert written["teacher"]["model"] == "zoo.trainable:make"
    assert again.sha256() == {n: sha256(found.out / "model" / n) for n in again.files}
    assert json.loads((tmp_path / "again" / "stages.json").read_text())["stages"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"training": None}, "training samples for fit"),
        ({"teacher": "zoo.trainable:nobody"}, "nobody"),
        ({"recipe": {"target": "ort-cpu", "graph-steps": [STATIC]}}, "a recipe with module-steps"),
    ],
)
def test_what_does_not_go_together_is_told_and_nothing_is_written(
    changed: dict[str, Any], error: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=error):
        gossamer.tune(write(tmp_path, **changed), out=tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["", ".."])
def test_what_trains_does_not_judge(where: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    judging = trainable.write(data, 400, seed=1)
    search = write(tmp_path, data=str(judging), training=str((judging / where).resolve()))

    with pytest.raises(DataError, match="training data apart from the data that judges"):
        gossamer.tune(search, out=tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_what_looks_at_the_source_does_not_take_the_recipe_for_it(found: gossamer.Result) -> None:
    recipe = found.out / "recipe.yaml"

    with pytest.raises(RecipeError, match="a recipe of graph-steps alone"):
        list(gossamer.explain(recipe))
    with pytest.raises(RecipeError, match="a recipe of graph-steps alone"):
        gossamer.diagnose("zoo.trainable:make", recipe)
