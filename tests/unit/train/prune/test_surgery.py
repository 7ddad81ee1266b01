"""Surgery: a slim model gives the numbers of the masked one, and says its own sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gossamer.errors import TrainingError
from gossamer.train.prune import surgery
from gossamer.train.prune.cost import cost
from gossamer.train.prune.groups import coupled
from gossamer.train.prune.recalibrate import recalibrate_
from zoo import convnets

pytestmark = pytest.mark.torch
NETS = [convnets.Plain, convnets.Residual, convnets.Depthwise, convnets.Dense, convnets.Shuffle]


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(x)
    return found


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
@settings(max_examples=8)
@given(data=st.data())
def test_any_elements_of_any_groups_can_go(
    net: Callable[[], nn.Module], data: st.DataObject
) -> None:
    """Equal to 1e-5 of the largest output: float32 sums of other lengths round otherwise."""
    model, x = convnets.trained(net()), convnets.images()
    chosen = []
    for group in coupled(model, {"x": x}).groups:
        gone = data.draw(st.sets(st.integers(0, len(group) - 1), max_size=len(group) - 1))
        chosen.append((group, np.array(sorted(gone), np.int64)))
    removed = {a: i for a, i in surgery.removal(chosen).items() if len(i)}
    slim = copy.deepcopy(model)

    surgery.cut_(slim, removed)
    surgery.zero_(model, removed)

    assert surgery.check_same(model, slim, {"x": x}) <= 1e-5
    assert all(axis_is_said(module) for module in slim.modules())


def axis_is_said(module: nn.Module) -> bool:
    """Whether what a layer notes of its size is what its weight has."""
    if isinstance(module, nn.Linear):
        return list(module.weight.shape) == [module.out_features, module.in_features]
    if isinstance(module, nn.ConvTranspose2d):
        return list(module.weight.shape[:2]) == [module.in_channels, module.out_channels]
    if isinstance(module, nn.Conv2d):
        columns = module.in_channels // module.groups
        return list(module.weight.shape[:2]) == [module.out_channels, columns]
    return not isinstance(module, nn.BatchNorm2d) or len(module.weight) == module.num_features


def test_a_slim_model_that_differs_is_refused() -> None:
    model, x = convnets.trained(convnets.Plain()), convnets.images()
    slim = copy.deepcopy(model)
    with torch.no_grad():
        slim.get_parameter("out.bias").add_(0.01)

    with pytest.raises(TrainingError, match="the numbers of the masked one"):
        surgery.check_same(model, slim, {"x": x})


class FixedView(nn.Module):
    """Writes down how many channels it has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 3), nn.Linear(800, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.conv(x).view(len(x), 800))
        return out


def test_a_forward_with_a_size_of_its_own_is_refused() -> None:
    model, x = FixedView(), convnets.images()
    (group,) = coupled(model, {"x": x}).groups
    slim = copy.deepcopy(model)
    surgery.cut_(slim, surgery.removal([(group, np.array([0]))]))

    with pytest.raises(TrainingError, match="a slim model that runs"):
        surgery.check_same(model, slim, {"x": x})


def test_what_is_parametrized_is_not_cut() -> None:
    model = convnets.Plain()
    parametrizations.weight_norm(model.hidden)
    name = "hidden.parametrizations.weight.original1"

    with pytest.raises(TrainingError, match="Detach the techniques"):
        surgery.cut_(model, {(name, 0): np.array([0])})


def test_beside_a_norm_of_weights_the_rest_is_cut() -> None:
    """As in the encoders of sounds, whose positions are a convolution of that kind."""
    model, x = convnets.Plain().eval(), convnets.images()
    parametrizations.weight_norm(model.hidden)
    groups = {group.name: group for group in coupled(model, {"x": x}).groups}
    slim = copy.deepcopy(model)

    removed = surgery.removal([(groups["conv1"], np.array([0, 5]))])
    surgery.cut_(slim, removed)
    surgery.zero_(model, removed)

    assert groups.keys() == {"conv1"}  # what the others make or read belongs to the norm
    assert surgery.check_same(model, slim, {"x": x}) <= 1e-5


def test_frozen_weights_stay_frozen_and_shared_ones_shared() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 8), nn.Linear(8, 4))
    model[2].weight = model[0].weight
    model[3].weight.requires_grad_(False)
    first, *_ = coupled(model, {"input": torch.randn(4, 4)}).groups

    surgery.cut_(model, surgery.removal([(first, np.array([1, 5]))]))

    assert model[2].weight is model[0].weight
    assert not model[3].weight.requires_grad
    assert model[0].weight.requires_grad


def test_recalibrated_statistics_are_the_mean_over_all_batches() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)).eval()
    batches = [{"input": torch.randn(8, 3, 4, 4) + i} for i in range(5)]

    assert recalibrate_(model, iter(batches)) == 1

    means = torch.stack([batch["input"].mean((0, 2, 3)) for batch in batches])
    variances = torch.stack([batch["input"].var((0, 2, 3)) for batch in batches])
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, means.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(norm.running_var, variances.mean(0), atol=1e-5, rtol=0)
    assert norm.momentum == 0.1
    assert not norm.training


def test_without_data_statistics_stay() -> None:
    model = convnets.trained(convnets.Plain())
    before = model.get_buffer("bn1.running_mean").clone()

    assert recalibrate_(model, iter(())) == 0
    assert torch.equal(model.get_buffer("bn1.running_mean"), before)


def test_the_cost_counts_products_of_one_sample() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 144, 10))

    found = cost(model, {"input": convnets.images()})

    assert found.macs == 8 * 3 * 9 * 144 + 8 * 144 * 10
    assert found.parameters == 8 * 27 + 8 + 8 * 144 * 10 + 10


def test_the_cost_counts_attention_between_values() -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    found = cost(Attention(), {"x": torch.randn(2, 4, 16, 8)})

    assert found.macs == 2 * 4 * 16 * 16 * 8
