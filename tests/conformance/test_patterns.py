"""What every pattern must be, those of third parties included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer import plugins
from gossamer.train.prune.pattern import Pattern

pytestmark = pytest.mark.torch

PATTERNS: list[Pattern] = [plugins.load("patterns", name)() for name in plugins.names("patterns")]
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def scores(size: tuple[int, int]) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(sum(size))) + 0.01


@given(size=SIZES)
def test_all_blocks_chosen_hide_the_share_that_it_says_and_none_hide_nothing(
    size: tuple[int, int],
) -> None:
    for pattern in PATTERNS:
        if pattern.refusal(*size):
            continue
        matrix = scores(size)
        blocks = pattern.blocks(matrix)
        every = torch.ones_like(blocks, dtype=torch.bool)

        assert pattern.hidden(every, matrix).shape == matrix.shape
        assert not pattern.hidden(~every, matrix).any()
        if pattern.share == 1:
            assert pattern.hidden(every, matrix).all()
        elif pattern.width and size[1] % pattern.width == 0:
            assert pattern.hidden(every, matrix).float().mean() == pytest.approx(pattern.share)


@given(size=SIZES, seed=st.integers(0, 99))
def test_the_worth_of_a_block_is_the_mean_of_what_it_hides(
    size: tuple[int, int], seed: int
) -> None:
    for pattern in PATTERNS:
        matrix = scores(size)
        blocks = pattern.blocks(matrix)
        one = torch.zeros_like(blocks, dtype=torch.bool)
        one.view(-1)[seed % blocks.numel()] = True
        hidden = pattern.hidden(one, matrix)
        is_whole = pattern.width == 0 or size[1] % pattern.width == 0
        if pattern.refusal(*size) or not (is_whole or pattern.share == 1):
            continue

        assert matrix[hidden].mean().item() == pytest.approx(blocks[one].item(), rel=1e-5)


@given(size=SIZES)
def test_values_of_blocks_reach_the_weights_of_their_block(size: tuple[int, int]) -> None:
    for pattern in PATTERNS:
        blocks = pattern.blocks(scores(size))
        values = torch.arange(blocks.numel()).reshape(blocks.shape).float()
        if pattern.refusal(*size):
            continue
        spread = pattern.spread(values, *size)

        assert spread.shape == size
        assert set(spread.flatten().tolist()) == set(values.flatten().tolist())


def test_what_was_hidden_is_hidden_first() -> None:
    for pattern in PATTERNS:
        matrix = scores((8, 8))
        some = torch.zeros_like(pattern.blocks(matrix), dtype=torch.bool)
        some.view(-1)[-2:] = True
        hidden = pattern.hidden(some, matrix)

        blocks = pattern.blocks(matrix.masked_fill(hidden, -float("inf")))

        assert torch.equal(blocks == -float("inf"), some)
