"""The demo: its network, its data, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gossamer.demo import accuracy, demo, digits, fit, network
from gossamer.errors import OutputError
from gossamer.progress import Silent

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("sklearn")


def test_the_digits_are_split_into_rows_that_no_other_part_has() -> None:
    train, test = digits(seed=0)

    assert train.images.shape == (1200, 1, 32, 32)
    assert test.images.shape == (597, 1, 32, 32)
    assert train.images.min() == 0
    assert train.images.max() == 1
    assert {len(np.unique(part.labels)) for part in (train, test)} == {10}
    together = np.concatenate([train.images, test.images])[:, 0, ::4, ::4]
    own = {image.tobytes() for image in train.images[:, 0, ::4, ::4]}
    assert len(together) == 1797
    assert not own & {image.tobytes() for image in test.images[:, 0, ::4, ::4]}


def test_another_seed_splits_otherwise() -> None:
    assert not np.array_equal(digits(seed=0)[1].labels, digits(seed=1)[1].labels)


def test_one_image_takes_the_network_at_least_twenty_million_multiplications() -> None:
    import torch

    module = network()
    counted = []

    def count(part: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        weight = part.get_parameter("weight")
        counted.append(weight.numel() * output[0, 0].numel())

    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            part.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(1, 1, 32, 32))

    assert sum(counted) >= 20_000_000


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    import torch

    before = torch.random.get_rng_state()
    first, again, other = network(seed=1), network(seed=1), network(seed=2)

    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.get_parameter("classes.weight"), again.get_parameter("classes.weight"))
    assert not torch.equal(
        first.get_parameter("classes.weight"), other.get_parameter("classes.weight")
    )


def test_training_learns() -> None:
    import torch

    train, test = digits()
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 10))

    fit(module, train, Silent(), epochs=3)

    assert not module.training
    assert accuracy(module, test) > 0.7


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(OutputError, match="earlier demo wrote"):
        demo(tmp_path, Silent())

    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
@pytest.mark.openvino
def test_the_demo_meets_its_budget_and_may_be_run_again_in_its_place(tmp_path: Path) -> None:
    for _ in range(2):
        result = demo(tmp_path / "out", Silent(), budget="30s")

    assert result.verdict == "met"
    assert result.baseline is not None
    assert result.winner is not None
    assert result.baseline.report_score is not None
    assert result.baseline.report_score >= 0.97
    assert result.winner.speedup is not None
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"demo", "model", "recipe.yaml", "README.md", "report.html", "result.json"} <= written
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["task"]["splits"] == {"calibration": 128, "search": 1072, "report": 597}
