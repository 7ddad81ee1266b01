"""Wanda and SparseGPT against their papers' formulas in float64, and what layers are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.train.prune import gather
from gossamer.train.prune.criteria.sparsegpt import Sparsegpt
from gossamer.train.prune.layers import Layer
from gossamer.train.prune.patterns.block import Block
from gossamer.train.prune.patterns.n_of_m import NOfM
from gossamer.train.prune.patterns.unstructured import Unstructured
from gossamer.train.prune.schedules.one_shot import OneShot
from gossamer.train.techniques.sparsify import Sparsify

pytestmark = pytest.mark.torch

Matrix = NDArray[np.float64]


def correlated(rows: int, inputs: int) -> Tensor:
    draw = torch.Generator().manual_seed(rows)
    mixed = torch.randn(rows, inputs, generator=draw) @ torch.randn(inputs, inputs, generator=draw)
    return mixed * torch.rand(inputs, generator=draw)


def linear(outputs: int, inputs: int) -> nn.Sequential:
    found = nn.Sequential(nn.Linear(inputs, outputs, bias=False))
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(3))
    found.get_submodule("0").load_state_dict({"weight": weight})
    return found


def pruned(outputs: int, data: Tensor, criterion: str, **fields: Any) -> tuple[Matrix, Matrix]:
    """The weight before and after."""
    model = linear(outputs, data.shape[1])
    before = model.get_parameter("0.weight").detach().double().numpy().copy()
    sparsify = Sparsify(
        criterion=plugins.parse("criteria", criterion), schedule=OneShot(), exclude=(), **fields
    )
    sparsify.attach(model, batches=lambda: [{"input": data}]).detach()
    return before, model.get_parameter("0.weight").detach().double().numpy()


def by_the_paper(weight: Matrix, hessian: Matrix, hidden: Callable[[Matrix, int], Any]) -> Matrix:
    """Optimal brain surgeon from the left to the right, one inverse for each column."""
    weight = weight.copy()
    for j in range(weight.shape[1]):
        mask = hidden(weight, j)
        rest = np.linalg.inv(hessian[j:, j:])
        change = (weight[:, j] * mask / rest[0, 0])[:, None] * rest[0]
        weight[:, j:] -= change
        weight[mask, j] = 0
    return weight


def test_wanda_takes_the_least_of_each_output_by_weight_times_norm() -> None:
    data = correlated(50, 20)

    before, after = pruned(6, data, "wanda", sparsity=0.4)

    scores = np.abs(before) * np.linalg.norm(data.double().numpy(), axis=0)
    for row, weight in enumerate(after):
        assert set(np.flatnonzero(weight == 0)) == set(np.argsort(scores[row])[:8])
    assert np.array_equal(after[after != 0], before[after != 0])


def test_sparsegpt_is_the_surgeon_of_its_paper() -> None:
    data = correlated(200, 16)
    _, after = pruned(5, data, "sparsegpt", pattern=NOfM())
    before = linear(5, 16).get_parameter("0.weight").detach().double().numpy()
    hessian = data.double().numpy().T @ data.double().numpy()
    hessian += 0.01 * np.mean(np.diag(hessian)) * np.eye(16)

    masks: dict[int, Any] = {}

    def hidden(weight: Matrix, j: int) -> Any:
        first = j - j % 4
        if j == first:
            left = [np.linalg.inv(hessian[k:, k:])[0, 0] for k in range(j, j + 4)]
            scores = weight[:, j : j + 4] ** 2 / np.array(left)
            rank = scores.argsort(axis=1).argsort(axis=1)
            masks[first] = rank < 2
        return masks[first][:, j - first]

    expected = by_the_paper(before, hessian, hidden)

    # float32 against float64, of weights about 1
    np.testing.assert_allclose(after, expected, atol=2e-3)
    assert np.array_equal(after == 0, expected == 0)


@pytest.mark.parametrize("pattern", [Unstructured(), NOfM(), Block(), Block(rows=2, columns=3)])
def test_sparsegpt_leaves_less_error_in_the_outputs_than_magnitude(pattern: Any) -> None:
    data = correlated(1000, 300)
    for name in ("wanda", "magnitude"):
        before, other = pruned(24, data, name, pattern=pattern, scope="local")
        _, best = pruned(24, data, "sparsegpt", pattern=pattern)
        inputs = data.double().numpy()

        errors = [float(np.linalg.norm(inputs @ (w - before).T)) for w in (best, other)]

        assert errors[0] < 0.9 * errors[1]


def test_sparsegpt_is_exact_over_many_parts() -> None:
    _, after = pruned(7, correlated(400, 301), "sparsegpt", sparsity=0.3)

    assert int((after == 0).sum()) == int(0.3 * 7 * 301)


def test_sparsegpt_stands_inputs_that_are_always_zero() -> None:
    data = correlated(100, 24)
    data[:, ::3] = 0

    _, after = pruned(8, data, "sparsegpt", sparsity=1 / 3)

    assert np.isfinite(after).all()
    assert (after == 0).sum() == 64


def test_a_damping_of_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"a damping above 0; received 0"):
        Sparsegpt(damping=0)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 5, 3, padding=1),
        nn.Conv2d(4, 5, (1, 3), stride=2, dilation=2),
        nn.Conv2d(2, 5, (3, 2), padding="same", padding_mode="reflect"),
        nn.Conv1d(3, 5, 3, padding="same", dilation=2),
        nn.Conv1d(3, 5, 2, padding="valid", stride=3),
        nn.Linear(9, 5),
    ],
    ids=str,
)
def test_rows_times_the_matrix_are_the_outputs(conv: Any) -> None:
    shape = (2, 9) if isinstance(conv, nn.Linear) else (2, conv.in_channels, 9, 8)
    given = torch.randn(shape[:3] if isinstance(conv, nn.Conv1d) else shape)
    layer = Layer(path="", module=conv)

    product = gather.rows(conv, given) @ layer.matrix(conv.weight).T + conv.bias

    expected = conv(given).movedim(1, -1).reshape(-1, 5)
    torch.testing.assert_close(product, expected, atol=1e-5, rtol=1e-5)


def test_layers_whose_inputs_cannot_be_seen_are_told() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3))
    sparsify = Sparsify(
        criterion=plugins.parse("criteria", "wanda"), schedule=OneShot(), exclude=()
    )
    images = torch.randn(2, 4, 8, 8)
    with sparsify.attach(model, batches=lambda: [{"input": images}]) as masks:
        told = {report.path: report.reason for report in masks.report()}

    assert told == {"1": "", "0": "its outputs read different inputs (groups=2)"}


@pytest.mark.parametrize("is_named", [False, True])
def test_padding_is_not_looked_at(is_named: bool) -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.is_named = is_named
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            found: Tensor = self.layer(input=x) if self.is_named else self.layer(x)
            return found

    model = Reading()
    x = correlated(10, 4).reshape(2, 5, 4)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    layers = [Layer(path="layer", module=model.layer)]
    seen: list[Tensor] = []

    gather.look(
        model, layers, [{"x": x, "attention_mask": mask}], lambda _, rows: seen.append(rows)
    )

    assert torch.equal(seen[0], torch.cat([x[0, :3], x[1]]))
