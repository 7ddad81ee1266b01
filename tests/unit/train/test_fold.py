"""BatchNorms go into the layers in front of them, or the model stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gossamer.errors import TrainingError
from gossamer.train.fold import fold_batch_norms
from zoo.trained import pictures

pytestmark = pytest.mark.torch


class Read(nn.Module):
    """A Conv that a sum reads beside its BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor = self.conv(x)
        found: Tensor = self.norm(inside) + inside
        return found


class Twice(nn.Module):
    """A Conv that runs twice, with a BatchNorm for each time, and one in front of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm in self.norms:
            x = norm(self.conv(x))
        return x


def test_it_computes_the_same_without_them() -> None:
    model, x = pictures(), torch.randn(4, 3, 8, 8)
    before = model(x)

    folded = fold_batch_norms(model, {"x": x})

    assert len(folded) == 5
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


def test_the_mode_of_every_module_stays() -> None:
    model = pictures().train()
    model.blocks[0].eval()
    modes = {name: m.training for name, m in model.named_modules() if "bn" not in name}

    fold_batch_norms(model, {"x": torch.randn(2, 3, 8, 8)})

    assert {n: m.training for n, m in model.named_modules() if n in modes} == modes


def test_linear_layers_and_existing_biases_take_them_too() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model(torch.randn(32, 3))
    x, expected = torch.randn(5, 3), None
    expected = model.eval()(x)

    assert fold_batch_norms(model, {"input": x}) == ("1",)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_layers_that_run_twice_and_norms_behind_nothing_stay() -> None:
    model = Twice().eval()

    assert fold_batch_norms(model, {"x": torch.randn(2, 3, 4, 4)}) == ()


def test_what_something_else_reads_is_refused_and_the_model_is_as_it_was() -> None:
    model, x = Read().eval(), torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        model.norm.weight.fill_(3)
    keys, before = list(model.state_dict()), model(x)

    with pytest.raises(TrainingError, match="only a BatchNorm reads what the layer"):
        fold_batch_norms(model, {"x": x})

    assert list(model.state_dict()) == keys
    assert torch.equal(model(x), before)
