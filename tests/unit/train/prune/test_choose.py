"""How many elements of which group go: shares, multiples, bounds and budgets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import TrainingError
from gossamer.train.prune import choose
from gossamer.train.prune.choose import Ranked
from gossamer.train.prune.groups import Group

pytestmark = pytest.mark.torch
SIZES = st.lists(st.integers(2, 80), min_size=1, max_size=5)
SHARES = st.floats(0, 0.99)
MULTIPLES = st.sampled_from([1, 4, 8, 16])


def ranked(sizes: list[int], multiple: int) -> list[Ranked]:
    generator = np.random.default_rng(len(sizes) + sum(sizes))
    made = []
    for i, size in enumerate(sizes):
        indices = np.arange(size)[:, None]
        group = Group(
            kind="neurons",
            is_shared=False,
            members={(f"{i}.weight", 0): indices, (f"{i + 1}.weight", 1): indices},
            makers=(f"{i}.weight",),
            readers=((f"{i + 1}.weight", 1),),
        )
        made.append(choose.rank(group, generator.uniform(0.1, 2, size), multiple))
    return made


def stay(groups: list[Ranked], counts: list[int]) -> list[int]:
    return [len(each.group) - n for each, n in zip(groups, counts, strict=True)]


@given(sizes=SIZES, share=SHARES, multiple=MULTIPLES)
def test_a_common_share_leaves_multiples_and_never_less_than_one(
    sizes: list[int], share: float, multiple: int
) -> None:
    groups = ranked(sizes, multiple)

    for size, left in zip(sizes, stay(groups, choose.alike(groups, share)), strict=True):
        assert left == size or (left % multiple == 0 and left >= multiple)
        if left not in {size, multiple}:
            assert abs(left - size * (1 - share)) <= multiple


@given(sizes=SIZES, share=SHARES, multiple=MULTIPLES)
def test_a_ranking_over_all_leaves_multiples_and_reaches_its_share(
    sizes: list[int], share: float, multiple: int
) -> None:
    groups = ranked(sizes, multiple)

    counts = choose.overall(groups, share)

    left = stay(groups, counts)
    smallest = [min(size, multiple) for size in sizes]
    assert all(n == size or (n % multiple == 0 and n) for n, size in zip(left, sizes, strict=True))
    assert sum(counts) >= share * sum(sizes) or left == smallest
    assert sum(counts) <= share * sum(sizes) + 2 * multiple


def test_the_least_important_go_first_and_ties_go_by_number() -> None:
    (group,) = ranked([6], 1)
    scores = np.array([3.0, 1.0, 2.0, 1.0, 5.0, 4.0])

    found = choose.rank(group.group, scores, 1)

    assert found.order.tolist() == [1, 3, 2, 0, 5, 4]


def test_what_is_left_goes_with_both_axes() -> None:
    groups = ranked([8, 16], 1)
    sizes = {("0.weight", 0): 8, ("0.weight", 1): 3, ("1.weight", 0): 16, ("1.weight", 1): 8}
    sizes |= {("2.weight", 0): 4, ("2.weight", 1): 16}
    macs = {"0.weight": 24, "1.weight": 128, "2.weight": 64}

    assert choose.left(macs, sizes, groups, [0, 0]) == 216
    assert choose.left(macs, sizes, groups, [4, 8]) == 12 + 32 + 32


@pytest.mark.parametrize("uniform", [True, False])
def test_a_budget_is_met_and_hardly_undercut(uniform: bool) -> None:
    groups = ranked([64, 64, 32], 4)

    def left(counts: object) -> int:
        return sum(stay(groups, list(counts)))  # type: ignore[call-overload]

    counts = choose.until(groups, [0, 0, 0], lambda c: left(c) <= 80, uniform=uniform)

    assert 80 - 12 <= left(counts) <= 80


@pytest.mark.parametrize("uniform", [True, False])
def test_a_budget_out_of_reach_is_refused(uniform: bool) -> None:
    with pytest.raises(TrainingError, match="that can be reached"):
        choose.until(ranked([16], 8), [0], lambda _: False, uniform=uniform)
