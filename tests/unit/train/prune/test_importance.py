"""What elements of a group are worth, by the criteria that prune single weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gossamer import plugins
from gossamer.errors import TrainingError
from gossamer.train.prune.criteria.fisher import Fisher
from gossamer.train.prune.criteria.magnitude import Magnitude
from gossamer.train.prune.criteria.snip import Snip
from gossamer.train.prune.criterion import Criterion
from gossamer.train.prune.groups import Group, coupled
from gossamer.train.prune.importance import scores
from zoo import convnets

pytestmark = pytest.mark.torch
LABELS = torch.tensor([0, 1, 2, 3])


def batches(count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {"x": torch.randn(convnets.INPUTS, generator=generator), "labels": LABELS}
        for _ in range(count)
    ]


def slope(model: nn.Module, group: Group, element: int, batch: dict[str, torch.Tensor]) -> float:
    """Of the loss, by a factor on what the readers are given of an element, by differences."""
    losses = []
    for factor in (1 - 1e-5, 1 + 1e-5):
        scaled = copy.deepcopy(model).double()
        with torch.no_grad():
            for name, axis in group.readers:
                along = scaled.get_parameter(name).movedim(axis, 0)
                along[group.members[name, axis][element]] *= factor
            losses.append(float(cross_entropy(scaled(batch["x"].double()), batch["labels"])))
    return (losses[1] - losses[0]) / 2e-5


@pytest.mark.parametrize("net", [convnets.Plain, convnets.Residual, convnets.Depthwise])
def test_gradients_are_those_by_factors_on_what_is_read(net: type[nn.Module]) -> None:
    """Within 1 % of the largest: float32 against differences in float64."""
    model = convnets.trained(net())
    data = batches(2)
    groups = coupled(model, {"x": convnets.images()}).groups
    slopes = [np.array([[slope(model, g, i, b) for i in range(4)] for b in data]) for g in groups]

    first = scores(model, groups, Snip(), data)
    squares = scores(model, groups, Fisher(), data)

    for expected, got, squared in zip(slopes, first, squares, strict=True):
        largest = np.abs(expected).max()
        np.testing.assert_allclose(got[:4], np.abs(expected.sum(0)), atol=0.01 * largest)
        np.testing.assert_allclose(squared[:4], (expected**2).sum(0), atol=0.02 * largest**2)


def test_magnitude_is_the_norm_of_all_weights_by_the_mean_of_the_group() -> None:
    model = convnets.trained(convnets.Plain())
    group = coupled(model, {"x": convnets.images()}).groups[0]
    weights = [(model.get_parameter(n), a) for n, a in group.members if "running" not in n]
    norms = sum(
        w.detach().square().movedim(a, 0).flatten(1).sum(1) for w, a in weights if w.ndim > 1
    ) + sum(w.detach().square() for w, _ in weights if w.ndim == 1)

    (found,) = scores(model, [group], Magnitude(), ())

    expected = np.sqrt(norms.numpy())
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", plugins.names("criteria"))
def test_every_criterion_of_weights_or_gradients_ranks(name: str) -> None:
    criterion: Criterion = plugins.parse("criteria", name)
    if criterion.needs == "inputs":
        with pytest.raises(plugins.RecipeError, match=f"weights or gradients; received {name}"):
            plugins.parse("module-steps", {"shrink": {"criterion": name}})
        return
    model = convnets.trained(convnets.Residual())
    groups = coupled(model, {"x": convnets.images()}).groups
    before = {n: x.clone() for n, x in model.state_dict().items()}

    found = scores(model, groups, criterion, batches(2))

    assert [each.shape for each in found] == [(len(group),) for group in groups]
    assert all(np.isfinite(each).all() and len(np.unique(each)) > 2 for each in found)
    assert all(torch.equal(x, before[n]) for n, x in model.state_dict().items())


def test_elements_of_zeros_are_worth_nothing() -> None:
    model = convnets.trained(convnets.Plain())
    with torch.no_grad():
        for name in ("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"):
            model.get_parameter(name)[3] = 0
        model.get_parameter("conv2.weight")[:, 3] = 0
    group = coupled(model, {"x": convnets.images()}).groups[0]

    for criterion in (Magnitude(), Snip(), Fisher()):
        (found,) = scores(model, [group], criterion, batches(1))
        assert found[3] == 0
        assert np.isfinite(found).all()


def test_readers_that_are_not_trained_have_no_gradients() -> None:
    model = convnets.trained(convnets.Plain())
    model.get_parameter("conv2.weight").requires_grad_(False)
    groups = coupled(model, {"x": convnets.images()}).groups

    with pytest.raises(TrainingError, match=r"received conv2\.weight, which is not"):
        scores(model, groups, Snip(), batches(1))
    with pytest.raises(TrainingError, match="needed batches"):
        scores(model, groups[1:], Snip(), ())
