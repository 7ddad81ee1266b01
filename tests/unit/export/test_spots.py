"""What a plan stores is found in the module by its numbers, or said to be missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from gossamer.qat import Aim, Prepared, prepare
from gossamer.source import ModuleExample
from zoo.trained import EXAMPLE, batches, pictures

pytestmark = pytest.mark.torch


def places(prepared: Prepared) -> dict[str, list[str]]:
    """Where each value and weight is."""
    found: dict[str, list[str]] = {}
    for spot in prepared.spots.spots:
        for name in spot.values if spot.part != "bias" else ():
            found.setdefault(name, []).append(spot.where)
    return found


@pytest.mark.parametrize("target", ["ort-cpu", "openvino-cpu"])
def test_everything_that_the_plan_stores_of_a_residual_net_is_found(target: str) -> None:
    prepared = prepare(pictures(), EXAMPLE, batches, Aim(target=target, samples=8))

    stored = {*prepared.plan.values, *(d.weight for d in prepared.plan.quantized if d.weight)}
    assert prepared.spots.missed == ()
    assert set(places(prepared)) == stored
    assert len(prepared.folded) == 5


def test_values_are_stored_where_kernels_write_them_or_read_them() -> None:
    written = places(prepare(pictures(), EXAMPLE, batches, Aim(target="ort-cpu", samples=8)))
    read = places(prepare(pictures(), EXAMPLE, batches, Aim(target="openvino-cpu", samples=8)))

    assert written["x"] == read["x"] == ["input of stem"]  # with all that is in it
    assert ["output of blocks.0.conv2"] in written.values()  # the kernel of the Conv writes int8
    assert ["output of blocks.0.conv2"] not in read.values()  # here it writes float
    assert ["output of stem.2"] in written.values()
    assert ["output of stem.2"] in read.values()  # which the Conv and the sum read


class Attention(nn.Module):
    """What two layers read stored is read in float by a sum, and one weight comes scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(128)
        self.query, self.key = nn.Linear(128, 128), nn.Linear(128, 128)
        self.out = nn.Linear(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 128**0.5
        found: Tensor = self.out(scores.softmax(-1) @ x) + x
        return found


def tokens() -> Iterator[dict[str, Tensor]]:
    torch.manual_seed(1)
    yield {"x": torch.randn(8, 6, 128)}


@pytest.mark.parametrize("target", ["ort-cpu", "openvino-cpu"])
def test_what_others_read_in_float_is_stored_in_front_of_its_readers(target: str) -> None:
    torch.manual_seed(0)
    example = ModuleExample(inputs={"x": torch.zeros(2, 6, 128)}, sequence=("x",))

    prepared = prepare(Attention(), example, tokens, Aim(target=target, samples=8))

    found = places(prepared)
    assert prepared.spots.missed == ()
    assert ["input of query", "input of key"] in found.values()
    assert not [w for where in found.values() for w in where if w == "output of norm"]
    weights = [s for s in prepared.spots.spots if s.part == "weight"]
    assert {s.module for s in weights} == {"query", "key", "out"}
    assert all((s.axis, s.stored_axis) == (0, 1) for s in weights)  # stored transposed


class Functional(nn.Module):
    """A value that a sum reads beside a Conv, with nothing around both; a weight that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.raw = nn.Parameter(torch.randn(16, 16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x) + x)
        found: Tensor = torch.conv2d(x, self.raw * self.raw)
        return found


def test_what_no_module_shows_is_told_with_the_reason() -> None:
    torch.manual_seed(0)

    prepared = prepare(Functional(), EXAMPLE, batches, Aim(target="ort-cpu", samples=8))

    reasons = sorted(reason for _, reason in prepared.spots.missed)
    assert "no module is given it or returns it" in reasons
    assert "no parameter has these numbers: something was folded into it" in reasons
    assert any("but" in r and "may read it outside of modules" in r for r in reasons)
