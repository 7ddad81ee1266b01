"""Dependency groups: what belongs together is found, and what cannot go stays with a reason."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gossamer.errors import TrainingError
from gossamer.train.prune.groups import Group, coupled
from zoo import convnets

pytestmark = pytest.mark.torch


def groups(model: nn.Module) -> dict[str, Group]:
    found = coupled(model.eval(), {"x": convnets.images()}).groups
    assert len({group.name for group in found}) == len(found)
    return {group.name: group for group in found}


def axes(group: Group) -> set[tuple[str, int]]:
    return set(group.members)


def test_a_flatten_spreads_a_channel_over_the_columns_of_a_linear_layer() -> None:
    found = groups(convnets.Plain())

    assert list(found) == ["conv1", "conv2", "hidden"]
    assert axes(found["conv2"]) == {
        *(("conv2.weight", 0), ("conv2.bias", 0), ("act.weight", 0), ("hidden.weight", 1)),
    }
    assert found["conv2"].members["hidden.weight", 1].tolist()[2] == list(range(18, 27))
    assert found["conv1"].members["bn1.running_var", 0].tolist() == [[i] for i in range(16)]


def test_channels_of_zeros_beside_a_shortcut_stay_and_shift_the_others() -> None:
    found = coupled(convnets.Residual().eval(), {"x": convnets.images()})
    shared = next(group for group in found.groups if group.name == "stem")

    assert shared.is_shared
    assert len(shared) == 16
    assert shared.members["bn_d.bias", 0].reshape(-1).tolist() == list(range(8, 24))
    assert shared.members["bn_b.bias", 0].reshape(-1).tolist() == list(range(16))
    assert found.kept["d.weight", 0] == "forward pads it with zeros"
    assert not next(group for group in found.groups if group.name == "a").is_shared


def test_a_depthwise_convolution_goes_with_the_channels_that_it_reads() -> None:
    found = groups(convnets.Depthwise())

    assert {"depth.weight", "excite.weight", "expand.weight"} == set(found["expand"].makers)
    assert ("project.weight", 1) in axes(found["expand"])
    assert not found["expand"].is_shared  # excitation multiplies, it does not add
    assert found["stem"].is_shared


def test_a_concatenation_gives_each_branch_its_own_columns() -> None:
    found = groups(convnets.Dense())

    # a group of the convolution behind reads each branch: both shrink together
    assert found["a"].members["bn.weight", 0].tolist()[3] == [3, 19]
    assert ("up.weight", 1) in axes(found["a"])
    assert found["grouped"].members["grouped.weight", 0].tolist()[0] == [0, 16]
    assert found["b"].members["up.weight", 0].tolist() == [[i] for i in range(16)]


def test_what_forward_cuts_at_fixed_places_stays() -> None:
    found = coupled(convnets.Shuffle().eval(), {"x": convnets.images()})

    assert [group.name for group in found.groups] == ["inner"]
    assert found.kept["stem.weight", 0] == "forward cuts it at fixed places"
    assert found.kept["out.weight", 0] == "it is an output of the model"


def test_what_a_normalization_runs_along_stays() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 2))

    found = coupled(model, {"input": torch.randn(4, 4)})

    assert [group.name for group in found.groups] == ["2"]
    assert found.kept["0.weight", 0] == "a normalization runs along it"


class Cumulative(nn.Module):
    """Sums along channels with an operator that has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x).cumsum(1))
        return out


def test_what_an_unknown_operator_reads_stays() -> None:
    found = coupled(Cumulative(), {"x": torch.randn(4, 4)})

    assert found.groups == ()
    assert found.kept["a.weight", 0] == "aten.cumsum reads it"


class Twice(nn.Module):
    """One layer, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.loop, self.out = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.loop(torch.tanh(self.loop(self.first(x)))))
        return out


def test_a_layer_that_is_used_twice_shrinks_on_both_sides() -> None:
    (group,) = coupled(Twice(), {"x": torch.randn(4, 4)}).groups

    assert {("loop.weight", 0), ("loop.weight", 1)} <= axes(group)


def test_macs_are_those_of_every_use() -> None:
    found = coupled(Twice(), {"x": torch.randn(4, 4)})

    assert dict(found.macs) == {"first.weight": 128, "loop.weight": 512, "out.weight": 64}


def test_the_model_is_only_read() -> None:
    model = convnets.Residual().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    coupled(model, {"x": convnets.images()})

    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_example_that_does_not_fit_is_told() -> None:
    with pytest.raises(TrainingError, match=r"a model whose forward takes x \[4, 7\]"):
        coupled(Twice(), {"x": torch.randn(4, 7)})
