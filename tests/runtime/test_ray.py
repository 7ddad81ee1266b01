"""Searches on a Ray cluster of two nodes, one of which dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import gossamer
from gossamer.errors import RecipeError
from gossamer.progress import Silent
from zoo import whole

pytest.importorskip("optuna")
STATIC = {
    "ranges": {"choice": ["min-max", "mse"]},
    "weight-bits": {"range": {"low": 7, "high": 8}},
}
RECIPE = {"target": "ort-cpu", "graph-steps": ["simplify", "fuse", {"quantize-static": STATIC}]}


def search(folder: Path, **changed: Any) -> Path:
    given = {
        "source": str(whole.classifier(folder / "small.onnx")),
        "data": str(whole.samples(folder / "small.npz", 64)),
        "max-drop": "50%",
        "threads": 1,
        "strategy": "grid",
        "recipe": RECIPE,
        **changed,
    }
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(given))
    return path


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes with a CPU each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(whole.__file__).parents[1])]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_node_that_dies_costs_its_trial_and_others_do_it(nodes: Any, tmp_path: Path) -> None:
    class Killing(Silent):
        """Takes a node away when the first trials are done."""

        def __init__(self) -> None:
            self.notes: list[str] = []
            self.done = 0

        def advance(self, n: int = 1) -> None:
            self.done += n
            if self.done >= 3 and not self.notes and (workers := list(nodes.worker_nodes)):
                nodes.remove_node(workers[0], allow_graceful=False)

        def note(self, text: str) -> None:
            self.notes.append(text)

    progress = Killing()
    found = gossamer.tune(
        search(tmp_path),
        out=tmp_path / "out",
        executor={"ray": {"address": nodes.address}},
        progress=progress,
    )

    assert found.verdict == "met"
    assert len([c for c in found.candidates if not c.is_float and c.status == "ok"]) == 4
    assert any("is gone" in note for note in progress.notes)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_nodes_without_time_are_not_asked_again(nodes: Any, tmp_path: Path) -> None:
    found = gossamer.tune(
        search(tmp_path),
        out=tmp_path / "out",
        budget="1s",
        executor={"ray": {"address": nodes.address}},
    )

    assert all(c.is_float for c in found.candidates if c.status == "ok")


def test_a_strategy_that_looks_alone_is_refused(tmp_path: Path) -> None:
    decided = {**RECIPE, "graph-steps": ["simplify", "fuse", "quantize-static"]}
    path = search(tmp_path, strategy="drop-worst", recipe=decided)

    with pytest.raises(RecipeError, match="whose trials can be shared"):
        gossamer.tune(path, out=tmp_path / "out", executor="ray")

    assert not (tmp_path / "out").exists()
