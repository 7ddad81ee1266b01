"""What stays makes up for what goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gossamer.train.prune.compensate import compensate_

pytestmark = pytest.mark.torch
GONE = np.array([1, 4])


class Reading(nn.Module):
    """One layer that reads six channels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found


def channels(*shape: int, seed: int = 0) -> Tensor:
    """Six along axis 1; of these 1 = 0 + 2 · 3, and 4 is always 0.5."""
    made = torch.randn(8, 6, *shape, generator=torch.Generator().manual_seed(seed))
    made[:, 1] = made[:, 0] + 2 * made[:, 3]
    made[:, 4] = 0.5
    return made


LAYERS = {
    "conv2d": (lambda: nn.Conv2d(6, 5, 3, stride=2), (9, 9)),
    "conv1d": (lambda: nn.Conv1d(6, 5, 3, dilation=2), (30,)),
    "linear": (lambda: nn.Linear(6, 5), ()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_follows_from_the_rest_can_go_without_loss(name: str) -> None:
    """Within 1 % of the largest output, which is what the damping costs."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    model = Reading(make())
    given = [channels(*shape, seed=i) for i in range(40)]
    before = model(given[0]).detach()

    count = compensate_(
        model, {("layer.weight", 1): GONE}, [("layer.weight", 1)], ({"x": x} for x in given)
    )

    left = given[0].clone()
    left[:, GONE] = 0
    with torch.no_grad():
        worst = float((model(left) - before).abs().max() / before.abs().max())
    assert count == 1
    assert worst < 0.01


def error(model: nn.Module, given: list[Tensor], before: list[Tensor]) -> float:
    total = 0.0
    for x, y in zip(given, before, strict=True):
        left = x.clone()
        left[:, GONE] = 0
        total += float((model(left) - y).square().sum())
    return total


def test_a_layer_without_a_bias_and_with_padding_comes_nearer() -> None:
    torch.manual_seed(0)
    model = Reading(nn.Conv2d(6, 5, 3, padding=1, bias=False))
    mixed = torch.randn(6, 6)
    given = [torch.einsum("ij,njhw->nihw", mixed, channels(7, 7, seed=i)) for i in range(4)]
    with torch.no_grad():
        before = [model(x) for x in given]
        zeros = error(model, given, before)

        compensate_(
            model, {("layer.weight", 1): GONE}, [("layer.weight", 1)], ({"x": x} for x in given)
        )

        assert error(model, given, before) < 0.5 * zeros


@pytest.mark.parametrize(
    ("make", "axis"),
    [
        (lambda: nn.Conv2d(6, 6, 3, groups=3), ("layer.weight", 1)),
        (lambda: nn.ConvTranspose2d(6, 5, 3), ("layer.weight", 0)),
    ],
)
def test_layers_that_are_no_plain_products_stay_as_they_are(
    make: Callable[[], nn.Module], axis: tuple[str, int]
) -> None:
    model = Reading(make())
    before = model.get_parameter("layer.weight").clone()

    count = compensate_(model, {axis: np.array([0])}, [axis], [{"x": channels(9, 9)}])

    assert count == 0
    assert torch.equal(model.get_parameter("layer.weight"), before)


def test_without_data_nothing_changes() -> None:
    model = Reading(nn.Linear(6, 5))
    before = model.get_parameter("layer.weight").clone()

    assert compensate_(model, {("layer.weight", 1): GONE}, [("layer.weight", 1)], ()) == 0
    assert torch.equal(model.get_parameter("layer.weight"), before)
