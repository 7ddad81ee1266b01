"""Quotas are exact: to the block, within bounds, and never less than before."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.train.prune.quota import lowest, lowest_of_layers, lowest_of_rows, quota

pytestmark = pytest.mark.torch

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)
SHARES = st.integers(0, 100).map(lambda percent: percent / 100)


def drawn(sizes: list[int], seed: int) -> list[Tensor]:
    """Scores with many equal ones."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 6, (size,), generator=draw).float() for size in sizes]


@pytest.mark.parametrize(("share", "blocks", "count"), [(0.29, 100, 29), (0.5, 7, 3), (1, 3, 3)])
def test_a_quota_is_rounded_down_but_not_by_the_float(
    share: float, blocks: int, count: int
) -> None:
    assert quota(share, blocks) == count


@given(size=st.integers(1, 60), count=st.integers(0, 60), seed=st.integers(0, 99))
def test_the_least_are_chosen_and_of_equal_ones_the_first(size: int, count: int, seed: int) -> None:
    (scores,) = drawn([size], seed)
    count = min(count, size)

    chosen = lowest(scores, count)

    assert chosen.nonzero().flatten().tolist() == sorted(
        scores.argsort(stable=True)[:count].tolist()
    )


@given(rows=st.integers(1, 6), columns=st.integers(1, 9), percent=SHARES)
def test_rows_lose_the_same_number_but_for_one(rows: int, columns: int, percent: float) -> None:
    count = quota(percent, rows * columns)
    scores = drawn([rows * columns], 0)[0].reshape(rows, columns)

    each = lowest_of_rows(scores, count).sum(dim=1)

    assert each.sum() == count
    assert each.max() - each.min() <= 1


@example(sizes=[1, 1, 1, 25, 1], shares=(0.0, 0.28, 0.28), seed=0)
@given(sizes=SIZES, shares=st.tuples(SHARES, SHARES, SHARES), seed=st.integers(0, 99))
def test_layers_together_give_exactly_the_quota_within_their_bounds(
    sizes: list[int], shares: tuple[float, float, float], seed: int
) -> None:
    least, share, most = sorted(shares)

    chosen = lowest_of_layers(drawn(sizes, seed), share, least, most)

    assert sum(int(c.sum()) for c in chosen) == quota(share, sum(sizes))
    for own, size in zip(chosen, sizes, strict=True):
        assert quota(least, size) <= own.sum() <= math.ceil(most * size - 1e-6)


@given(sizes=SIZES, shares=st.tuples(SHARES, SHARES, SHARES, SHARES), seed=st.integers(0, 99))
def test_what_was_pruned_stays_pruned_whatever_the_scores_become(
    sizes: list[int], shares: tuple[float, float, float, float], seed: int
) -> None:
    early, late, most = sorted(shares[:3])
    least = min(shares[3], late)
    before = lowest_of_layers(drawn(sizes, seed), early, least, most)
    later = [
        scores.masked_fill(pruned, -float("inf"))
        for scores, pruned in zip(drawn(sizes, seed + 1), before, strict=True)
    ]

    after = lowest_of_layers(later, late, least, most)

    assert sum(int(c.sum()) for c in after) == quota(late, sum(sizes))
    for old, new in zip(before, after, strict=True):
        assert (old <= new).all()


def test_without_bounds_the_least_of_all_layers_go() -> None:
    scores = [torch.tensor([1.0, 5.0, 6.0]), torch.tensor([2.0, 3.0, 4.0])]

    chosen = lowest_of_layers(scores, 0.5, 0, 1)

    assert [c.tolist() for c in chosen] == [[True, False, False], [True, True, False]]
