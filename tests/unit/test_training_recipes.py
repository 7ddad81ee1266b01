"""The recipes of benchmarks/recipes: all parse, and train for a few steps on the real models."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
import yaml

from gossamer import plugins
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.task import DataRequest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.torch
RECIPES = sorted((Path(__file__).parents[2] / "benchmarks" / "recipes").glob("*.yaml"))
QUICK = {"resnet20_30_ptq"}  # the others take a minute together


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_it_is_and_parses(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    record = yaml.safe_load(text)
    recipe = Recipe.parse(record["recipe"])

    assert text.startswith("# ")
    assert recipe.module_steps
    assert recipe.graph_steps
    assert plugins.parse("tasks", record["task"])


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=p.stem, marks=[] if p.stem in QUICK else [pytest.mark.slow])
        for p in RECIPES
    ],
)
def test_a_recipe_trains_for_a_few_steps(
    path: Path, real: Path, repository: Path, tmp_path: Path
) -> None:
    from gossamer.sources import find
    from gossamer.trained import TrainingRows, rows_to_train, trained

    if real != (repository.parent / "shared" / "real").resolve():
        pytest.skip("the factories of benchmarks read the folder beside the checkout")
    record = yaml.safe_load(path.read_text(encoding="utf-8").replace("{real}", str(real)))
    recipe = Recipe.parse(record["recipe"])
    steps = [
        dataclasses.replace(step, epochs=0.02) if "fit" in plugins.dump(step) else step
        for step in recipe.module_steps
    ]
    with contextlib.chdir(repository):
        source = find(record["source"])
        model = source.open(tmp_path)
        task = plugins.parse("tasks", record["task"]).resolved(model)
        data = task.open(DataRequest(model=model, path=Path(record["training"])))
        found = trained(
            source,
            dataclasses.replace(recipe, module_steps=tuple(steps)),
            TrainingRows(split=rows_to_train(data), sha256="", length=32),
            cache=tmp_path,
            progress=Silent(),
        )

    assert [stage.name for stage in found.stages[1:]] == [
        next(iter(plugins.dump(step))) for step in steps
    ]
    assert all(torch.isfinite(p).all() for p in found.module.parameters())
