"""What every criterion must be, those of third parties included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gossamer import plugins
from gossamer.train.prune.criterion import Choice, Criterion
from gossamer.train.prune.quota import lowest

pytestmark = pytest.mark.torch

NAMES = plugins.names("criteria")
INPUTS = 12


@pytest.fixture(params=NAMES)
def criterion(request: pytest.FixtureRequest) -> Criterion:
    found: Criterion = plugins.load("criteria", request.param)()
    return found


def weight(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(6, INPUTS, generator=torch.Generator().manual_seed(0)).to(dtype)


def gathered(criterion: Criterion, of: Tensor) -> Tensor:
    seen, draw = criterion.begin(of), torch.Generator().manual_seed(1)
    for _ in range(3):
        shape = of.shape if criterion.needs == "gradients" else (20, INPUTS)
        criterion.gather(seen, of, torch.randn(shape, generator=draw).to(of.dtype))
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_are_float32_numbers_one_for_each_weight(
    criterion: Criterion, dtype: torch.dtype
) -> None:
    given = weight(dtype)
    before = given.clone()

    scores = criterion.scores(given, gathered(criterion, given))

    assert scores.shape == given.shape
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    assert torch.equal(given, before)


def test_a_weight_of_zero_is_worth_least(criterion: Criterion) -> None:
    given = weight()
    given[2, 3] = 0
    scores = criterion.scores(given, gathered(criterion, given))

    is_signed = (scores < 0).any()  # movement: zero is in the middle
    by_weight = criterion.scores(given * 2, criterion.begin(given)).ne(0).any()
    if not is_signed and (by_weight or criterion.needs != "gradients"):
        assert scores[2, 3] == scores.min()


def test_pruning_hides_what_the_choice_says_and_leaves_the_given_weight(
    criterion: Criterion,
) -> None:
    given = weight()
    before, kept = given.clone(), torch.ones_like(given, dtype=torch.bool)
    kept[:, 0] = False
    choice = Choice(together=INPUTS, hidden=lambda scores, _: lowest(scores, scores.numel() // 2))

    after, hidden = criterion.prune(given, gathered(criterion, given), kept, choice)

    assert torch.equal(given, before)
    assert hidden.sum() == given.numel() // 2
    assert hidden[:, 0].all()  # what is pruned stays pruned
    assert after.shape == given.shape
