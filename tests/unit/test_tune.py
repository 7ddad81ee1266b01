"""Searches over the open places of a recipe: what they find, keep and share."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import gossamer
from gossamer.errors import GossamerError, OutputError, RecipeError
from gossamer.progress import Silent
from gossamer.result import Candidate
from gossamer.search.shared import Place, Shared
from gossamer.search.space import Space
from zoo import whole

optuna = pytest.importorskip("optuna")
pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.usefixtures("quick_clock"),
]
STATIC = {
    "ranges": {"choice": ["min-max", "mse"]},
    "weight-bits": {"range": {"low": 7, "high": 8}},
}
RECIPE = {"target": "ort-cpu", "graph-steps": ["simplify", "fuse", {"quantize-static": STATIC}]}
COMMAND = "import sys; from gossamer.cli.main import main; main(sys.argv[1:])"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A search over four recipes for a small classifier."""
    folder = tmp_path_factory.mktemp("given")
    return {
        "source": str(whole.classifier(folder / "small.onnx")),
        "data": str(whole.samples(folder / "small.npz", 64)),
        "max-drop": "10%",
        "threads": 1,
        "strategy": "grid",
        "recipe": RECIPE,
    }


def written(folder: Path, given: dict[str, Any], **changed: Any) -> Path:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump({**given, **changed}))
    return path


def trials(out: Path) -> list[Any]:
    """The finished trials of the study, as Optuna itself reads them."""
    study = optuna.load_study(study_name="gossamer", storage=f"sqlite:///{out / 'tuning.db'}")
    found: list[Any] = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    return found


def tried(found: gossamer.Result) -> list[Candidate]:
    return [c for c in found.candidates if not c.is_float]


@pytest.fixture(scope="module")
def whole_grid(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> gossamer.Result:
    folder = tmp_path_factory.mktemp("grid")
    search = written(folder, given, objectives=["size", "maximize sqnr-db"])
    return gossamer.tune(search, out=folder / "out")


def test_a_grid_tries_every_recipe_once(whole_grid: gossamer.Result) -> None:
    found = tried(whole_grid)

    assert len({c.id for c in found}) == len(found) == 4
    assert all(c.status == "ok" for c in found)
    assert {c.label for c in found} >= {"ranges mse, weight-bits 7"}
    assert len(trials(whole_grid.out)) == 4


def test_the_front_is_kept_with_its_files(whole_grid: gossamer.Result) -> None:
    kept = {c.id: c for c in whole_grid.candidates}

    assert whole_grid.objectives == ("size", "maximize sqnr-db")
    assert whole_grid.front
    assert all((whole_grid.out / str(kept[i].path)).is_dir() for i in whole_grid.front)
    assert all(kept[i].within_budget for i in whole_grid.front)
    document = json.loads((whole_grid.out / "result.json").read_text())
    assert document["front"] == list(whole_grid.front)


def test_the_first_objective_decides(whole_grid: gossamer.Result) -> None:
    sizes = [c.size_bytes for c in whole_grid.candidates if c.within_budget and c.size_bytes]

    assert whole_grid.winner is not None
    assert whole_grid.winner.size_bytes == min(sizes)


def test_the_written_recipe_gives_the_winner_again(
    whole_grid: gossamer.Result, tmp_path: Path
) -> None:
    assert whole_grid.winner is not None
    again = gossamer.rerun(whole_grid.out / "recipe.yaml", tmp_path / "again")

    assert again.sha256().items() <= whole_grid.winner.files.items()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "strategy",
    [
        "tpe",
        pytest.param("random", marks=SLOW),
        pytest.param({"nsga2": {"population": 2}}, marks=SLOW),
    ],
)
def test_drawn_trials_are_as_many_as_asked(
    strategy: Any, given: dict[str, Any], tmp_path: Path
) -> None:
    search = written(tmp_path, given, strategy=strategy, trials=2)

    found = gossamer.tune(search, out=tmp_path / "out")

    assert len(tried(found)) == 2
    assert found.verdict == "met"


@pytest.mark.slow
def test_a_space_that_is_used_up_ends_the_search(given: dict[str, Any], tmp_path: Path) -> None:
    one = {"ranges": {"choice": ["min-max", "mse"]}}
    steps = ["simplify", "fuse", {"quantize-static": one}]
    search = written(
        tmp_path, given, strategy="random", trials=9, recipe={**RECIPE, "graph-steps": steps}
    )

    assert len(tried(gossamer.tune(search, out=tmp_path / "out"))) == 2


def test_constraints_that_nothing_keeps_are_best_effort(
    given: dict[str, Any], tmp_path: Path
) -> None:
    search = written(tmp_path, given, constraints="size <= 10B", trials=1, strategy="random")

    found = gossamer.tune(search, out=tmp_path / "out")

    assert found.verdict == "best_effort"
    assert not any(c.within_budget for c in found.candidates)
    assert {c.reason for c in found.candidates if c.status == "ok"} == {"misses size <= 10B"}


@pytest.mark.slow
def test_drop_worst_takes_sites_out_of_one_recipe(given: dict[str, Any], tmp_path: Path) -> None:
    steps = ["simplify", "fuse", {"quantize-static": {"weight-bits": 3}}]
    search = written(
        tmp_path,
        given,
        strategy="drop-worst",
        recipe={**RECIPE, "graph-steps": steps},
        **{"max-drop": "0.01%"},
    )

    found = gossamer.tune(search, out=tmp_path / "out")

    labels = [c.label for c in tried(found)]
    assert labels[0] == "as written"
    assert all("in float" in label for label in labels[1:])
    assert len(labels) > 1
    assert len(found.sensitivity) == 2  # the convolutions
    assert all(-200 < db < 60 for db in found.sensitivity.values())


def made(out: Path) -> list[Path]:
    """Model files of candidates that are not float."""
    found = []
    for path in sorted((out / "candidates").glob("*/model.onnx")):
        with sqlite3.connect(out / "tuning.db") as database:
            query = "SELECT value_json FROM study_user_attributes WHERE key = ?"
            (document,) = database.execute(query, (path.parent.name,)).fetchone()
        database.close()
        found += [path] if json.loads(document)["label"] != "float32" else []
    return found


class Killed(Silent):
    """Ends the process behind the first finished trial, but for what is told of it."""

    def candidate(self, candidate: Candidate) -> None:
        if not candidate.is_float:
            raise KeyboardInterrupt


def test_a_killed_search_goes_on_and_repeats_nothing(given: dict[str, Any], tmp_path: Path) -> None:
    search, out = written(tmp_path, given), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        gossamer.tune(search, out=out, progress=Killed())
    (first,) = made(out)
    before = first.stat().st_mtime_ns
    found = gossamer.tune(search, out=out, resume=True)

    assert len(tried(found)) == 4
    assert len({t.user_attrs["candidate"] for t in trials(out)}) == len(trials(out)) == 4
    assert not first.exists() or first.stat().st_mtime_ns == before


def test_trials_of_dead_processes_are_tried_again_and_those_of_living_ones_not(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    shared = Shared(Place(url=url, name="gossamer", objectives=("latency",), seed=0))
    space = Space.parse({"bits": {"range": {"low": 2, "high": 8}}})
    sampler = optuna.samplers.RandomSampler
    dead, living = shared.ask(sampler), shared.ask(sampler)
    data, _ = shared.filled(dead, space)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead.set_user_attr("owner", [socket.gethostname(), child.pid, ""])

    shared.reclaim()
    again = shared.ask(sampler)

    assert shared.filled(again, space)[0] == data
    assert again.number not in (dead.number, living.number)
    assert shared.is_busy()
    assert shared.ask(None) is None


def test_a_finished_search_is_given_back(
    whole_grid: gossamer.Result, given: dict[str, Any]
) -> None:
    search = whole_grid.out.parent / "search.yaml"

    again = gossamer.tune(search, out=whole_grid.out, resume=True)

    assert again.winner == whole_grid.winner
    with pytest.raises(OutputError, match="--resume"):
        gossamer.tune(search, out=whole_grid.out)
    other = written(whole_grid.out.parent, given, **{"max-drop": "7%"})
    with pytest.raises(OutputError, match="max_drop"):
        gossamer.tune(other, out=whole_grid.out, resume=True)


def run(search: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "tune", search, "--out", out, "--json", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_two_processes_share_the_trials(given: dict[str, Any], tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    search = written(tmp_path, given)

    running = [run(search, tmp_path / name, "--storage", storage) for name in ("one", "two")]
    documents = [json.loads(process.communicate(timeout=240)[0]) for process in running]

    assert [process.returncode for process in running] == [0, 0]
    ids = [[c["id"] for c in d["candidates"] if c["recipe"]["graph-steps"]] for d in documents]
    assert len(set(ids[0]) | set(ids[1])) == 4
    assert "shared.db" not in (tmp_path / "one" / "result.json").read_text()


@pytest.mark.slow
def test_twenty_kills_at_random_cost_no_finished_trial(
    given: dict[str, Any], tmp_path: Path
) -> None:
    search, out = written(tmp_path, given), tmp_path / "out"
    rng, known = np.random.default_rng(0), dict[int, Any]()
    for _ in range(20):
        process = run(search, out, "--resume")
        try:
            process.communicate(timeout=float(rng.uniform(0.5, 9)))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        ended = (
            {t.number: t.datetime_complete for t in trials(out)}
            if (out / "tuning.db").exists()
            else {}
        )
        assert known.items() <= ended.items()
        known = ended

    found = gossamer.tune(search, out=out, resume=True)

    assert len(tried(found)) == 4
    assert known.items() <= {t.number: t.datetime_complete for t in trials(out)}.items()
    names = [t.user_attrs["candidate"] for t in trials(out) if "candidate" in t.user_attrs]
    assert len(names) == len(set(names)) == 4


@pytest.mark.parametrize(
    ("changed", "needed"),
    [
        ({"recipe": {"target": "ort-cpu", "graph-steps": ["fuse"]}}, "a recipe with an open place"),
        ({"recipe": {"graph-steps": []}}, "a recipe with a target"),
        ({"recipe": None}, "dict for recipe"),
        ({"strategy": "bayes"}, "a name from the family strategies"),
        ({"objectives": []}, "at least one objective"),
        ({"objectives": "speed"}, "an objective"),
        ({"constraints": ["size < 1"]}, "a constraint like"),
        ({"strategy": "ladder"}, "looks among the recipes of a file"),
        ({"strategy": "drop-worst"}, "in which everything is decided"),
        ({"trial": 3}, "a key of a search"),
        ({"task": {"a": {}, "b": {}}}, "a task"),
        ({"max-drop": "1"}, "a drop like"),
    ],
)
def test_what_cannot_be_understood_is_told_and_nothing_is_written(
    changed: dict[str, Any], needed: str, given: dict[str, Any], tmp_path: Path
) -> None:
    search = written(tmp_path, given, **changed)

    with pytest.raises(RecipeError, match=needed):
        gossamer.tune(search, out=tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_database_that_cannot_be_opened_is_told_without_its_password(
    given: dict[str, Any], tmp_path: Path
) -> None:
    search = written(tmp_path, given)

    with pytest.raises(GossamerError, match="a database that can be read") as told:
        gossamer.tune(search, out=tmp_path / "out", storage="nothing://user:secret@host/name")

    assert "secret" not in str(told.value)
