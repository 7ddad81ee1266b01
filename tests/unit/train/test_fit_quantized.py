"""The loop with fake quantization: the result is on the grid, and survives a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gossamer import carried, plugins
from gossamer.errors import TrainingError
from gossamer.progress import Silent
from gossamer.qat import Aim, prepare
from gossamer.step import ModuleContext
from gossamer.task import Label, Samples, Split

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
from gossamer.train import loop  # noqa: E402
from gossamer.train.batches import PaddedBatches  # noqa: E402
from zoo import kills, trained  # noqa: E402

pytestmark = pytest.mark.torch
COUNT = 256


class Pictures(Samples):
    def __init__(self) -> None:
        self.x, self.labels = trained.labelled(3, COUNT)

    def __len__(self) -> int:
        return COUNT

    def feed(self, index: int) -> dict[str, np.ndarray]:
        return {"x": self.x[index : index + 1].numpy()}

    def label(self, index: int) -> Label:
        return int(self.labels[index])


def context(folder: Path, progress: Silent | None = None) -> ModuleContext:
    return ModuleContext(
        training=PaddedBatches(split=Split(samples=Pictures(), indices=tuple(range(COUNT)))),
        teacher=trained.pictures,
        seed=0,
        folder=folder,
        spots=lambda model: prepare(model, trained.EXAMPLE, trained.batches, Aim(samples=16)).spots,
        progress=progress or Silent(),
    )


@pytest.mark.parametrize(("learns", "others"), [(True, ["distill"]), (False, [])])
def test_a_killed_training_goes_on_to_the_same_bits_and_ranges(
    learns: bool, others: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    technique = {"quantize-aware": {"weight-bits": 4, "learn-ranges": learns}}
    options = plugins.parse(
        "module-steps", {"fit": {"epochs": 1, "techniques": [*others, technique]}}
    )
    whole = options.apply(trained.pictures(), context(tmp_path / "whole"))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    with pytest.raises(KeyboardInterrupt):
        options.apply(trained.pictures(), context(tmp_path / "killed", kills.AfterSteps(4)))
    resumed = options.apply(trained.pictures(), context(tmp_path / "killed"))
    found = options.apply(trained.pictures(), context(tmp_path / "killed", kills.AfterSteps(0)))

    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
        assert torch.equal(tensor, found.state_dict()[name]), name
    texts = [(tmp_path / name / carried.FILE).read_text() for name in ("whole", "killed")]
    assert texts[0] == texts[1]
    ranges = carried.beside(tmp_path / "killed")
    steps = found.linear.weight.detach().numpy() / ranges["linear.weight"].scale[:, None]
    assert np.abs(steps - steps.round()).max() < 1e-3
    assert np.abs(steps).max() <= 7.001


def test_a_loop_that_does_not_know_the_spots_is_told(tmp_path: Path) -> None:
    options = plugins.parse("module-steps", {"fit": {"techniques": ["quantize-aware"]}})
    given = context(tmp_path)
    object.__setattr__(given, "spots", None)

    with pytest.raises(TrainingError, match="spots= for QuantizeAware"):
        options.apply(trained.pictures(), given)
