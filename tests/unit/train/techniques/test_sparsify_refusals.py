"""What `sparsify` refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer import plugins
from gossamer.errors import RecipeError, TrainingError
from gossamer.train.prune.patterns.n_of_m import NOfM
from gossamer.train.prune.schedules.one_shot import OneShot
from gossamer.train.techniques.sparsify import Sparsify
from zoo.nets import batch, net

pytestmark = pytest.mark.torch


def batches() -> Iterator[Mapping[str, Tensor]]:
    return ({"images": batch(i)[0]} for i in range(3))


def criterion(name: str) -> Any:
    return plugins.parse("criteria", name)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"sparsity": 1.0}, "a sparsity of at least 0 and less than 1; received 1.0"),
        ({"sparsity": 0.6, "pattern": NOfM()}, "at most 0.5; received 0.6"),
        ({"start": 0.8}, "0 <= start <= end <= 1; received 0.8 and 0.7"),
        ({"min_sparsity": 0.6}, "min-sparsity <= sparsity"),
        ({"interval": 0}, "an interval and looks of at least 1"),
        ({"scope": "global", "criterion": criterion("wanda")}, "compares within each output"),
    ],
)
def test_options_that_cannot_be_are_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Sparsify(**fields)


def test_what_is_missing_is_named() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TrainingError, match="steps= for Sparsify"):
        Sparsify().attach(model, optimizer)
    with pytest.raises(TrainingError, match="an optimizer, whose steps"):
        Sparsify().attach(model, steps=5)
    with pytest.raises(TrainingError, match="batches= for Sparsify"):
        Sparsify(criterion=criterion("wanda"), schedule=OneShot()).attach(model)
    with pytest.raises(TrainingError, match="batch_loss= for"):
        Sparsify(criterion=criterion("snip"), schedule=OneShot()).attach(model, batches=batches)
    with pytest.raises(TrainingError, match="batches to look at; received none"):
        Sparsify(criterion=criterion("wanda"), schedule=OneShot()).attach(model, batches=list)
    with pytest.raises(TrainingError, match=r"Linear or Conv that 'wid' matches.*mean wide"):
        Sparsify(layers=("wid",)).attach(model, optimizer, steps=5)
    with pytest.raises(TrainingError, match="a torch optimizer; received int"):
        Sparsify().attach(model, 3, steps=5)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="a layer to prune"):
        Sparsify(schedule=OneShot(), exclude=("1",)).attach(
            nn.Sequential(nn.Embedding(3, 3), nn.Linear(3, 3))
        )
    masks = Sparsify(schedule=OneShot()).attach(model)
    with pytest.raises(TrainingError, match="layers without masks"):
        Sparsify(schedule=OneShot()).attach(model)
    masks.detach()


def test_weights_that_are_no_numbers_are_refused() -> None:
    model = net()
    with torch.no_grad():
        model.wide.weight[0, 0] = float("nan")

    with pytest.raises(TrainingError, match="finite numbers; received others in wide"):
        Sparsify(schedule=OneShot()).attach(model)
    assert list(model.state_dict()) == list(net().state_dict())
