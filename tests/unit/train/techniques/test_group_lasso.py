"""Group lasso in somebody's own training loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gossamer.errors import RecipeError, TrainingError
from gossamer.train.prune.patterns.block import Block
from gossamer.train.prune.patterns.channel import Channel
from gossamer.train.prune.patterns.n_of_m import NOfM
from gossamer.train.techniques.group_lasso import GroupLasso

pytestmark = pytest.mark.torch


def layer(seed: int = 0) -> nn.Sequential:
    found = nn.Sequential(nn.Linear(5, 6, bias=False))
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))
    weight[:4, 0] *= 0.01
    found.get_submodule("0").load_state_dict({"weight": weight})
    return found


def test_a_step_is_the_proximal_operator_on_every_block() -> None:
    model = layer()
    weight = model.get_parameter("0.weight")
    before = weight.detach().double().clone()
    optimizer = torch.optim.SGD([{"params": [weight], "lr": 0.5}], lr=9.0)
    weight.grad = torch.zeros_like(weight)

    with GroupLasso(strength=0.3, pattern=Block(rows=4), exclude=()).attach(model, optimizer):
        optimizer.step()

    expected = before.clone()
    for rows in (slice(0, 4), slice(4, 6)):  # the last blocks have two weights
        for column in range(5):
            block = before[rows, column]
            shrunk = 1 - 0.5 * 0.3 * len(block) ** 0.5 / float(block.norm())
            expected[rows, column] = block * max(0, shrunk)
    torch.testing.assert_close(weight.detach().double(), expected, atol=1e-6, rtol=1e-6)
    assert not weight[:4, 0].any()  # the small block is gone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_zero_and_a_rate_of_zero_do_no_harm(dtype: torch.dtype) -> None:
    model = layer().to(dtype)
    weight = model.get_parameter("0.weight")
    with torch.no_grad():
        weight[:, 1] = 0
    before = weight.detach().clone()
    optimizer = torch.optim.SGD([weight], lr=0.0)
    weight.grad = torch.zeros_like(weight)

    with GroupLasso(pattern=Channel(of="inputs"), exclude=()).attach(model, optimizer):
        optimizer.step()

    assert torch.equal(weight, before)


def test_it_shrinks_nothing_any_more_after_it_was_detached() -> None:
    model = layer()
    weight = model.get_parameter("0.weight")
    optimizer = torch.optim.SGD([weight], lr=0.1)
    attachment = GroupLasso(strength=1, exclude=()).attach(model, optimizer)
    attachment.detach()
    weight.grad = torch.zeros_like(weight)
    before = weight.detach().clone()

    optimizer.step()

    assert torch.equal(weight, before)
    assert list(model.state_dict()) == ["0.weight"]


@pytest.mark.parametrize("fields", [{"strength": -1.0}, {"pattern": NOfM()}])
def test_options_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"strength of at least 0|become zero as a whole"):
        GroupLasso(**fields)


def test_what_is_missing_is_named() -> None:
    model = layer()
    with pytest.raises(TrainingError, match="an optimizer, whose steps"):
        GroupLasso().attach(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TrainingError, match="a layer with such blocks; received 0: its 6 x 5"):
        GroupLasso(pattern=Block(rows=16), exclude=()).attach(model, optimizer)
