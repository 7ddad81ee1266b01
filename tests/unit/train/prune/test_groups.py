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


class Attention(nn.Module):
    """Two layers of attention over three tokens, with what forward adds to the scores of both."""

    def __init__(self, *, is_relative: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 32) for _ in range(6))
        self.out = nn.ModuleList(nn.Linear(32, 8) for _ in range(2))
        self.heads, self.is_relative = 4, is_relative

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)[:, :24].reshape(-1, 3, 8)
        mask = torch.zeros(len(x), 1, 3, 3).expand(-1, self.heads, -1, -1)
        for i, out in enumerate(self.out):
            made = (layer(x) for layer in self.layers[3 * i : 3 * i + 3])
            q, k, v = (y.view(len(x), 3, -1, 8).transpose(1, 2) for y in made)
            scores = q @ k.transpose(-1, -2) + mask
            if self.is_relative:
                scores = scores + torch.ones(self.heads, 3, 8) @ torch.ones(len(x), 1, 8, 3)
            x = x + out((scores.softmax(-1) @ v).transpose(1, 2).reshape(len(x), 3, -1))
        return x.mean(1)


def test_a_mask_for_all_heads_does_not_bind_those_of_two_layers() -> None:
    found = coupled(Attention(is_relative=False).eval(), {"x": convnets.images()}).groups

    heads = [group for group in found if group.kind == "heads"]
    assert [len(group) for group in heads] == [4, 4]
    assert heads[0].makers == ("layers.0.weight", "layers.1.weight", "layers.2.weight")


def test_heads_stay_beside_what_no_weight_makes_for_each() -> None:
    found = coupled(Attention(is_relative=True).eval(), {"x": convnets.images()})

    assert not [group for group in found.groups if group.kind == "heads"]
    assert found.kept["layers.0.weight", 0] == "it meets values that no weight makes"


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        out: Tensor = self.second(h + torch.ones(len(x), 1, 1, 1).expand_as(h)).mean((2, 3))
        return out


def test_what_is_the_same_for_all_channels_is_no_branch() -> None:
    assert not groups(Shifted())["first"].is_shared
