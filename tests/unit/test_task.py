"""Splits are disjoint, seeded and complete; examples have the asked batch and length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import DataError
from gossamer.runtime import Feed
from gossamer.task import (
    Samples,
    Split,
    TaskData,
    draw,
    example,
    halves,
    split_indices,
    training_indices,
)
from zoo.judged import tensor


class Counting(Samples):
    def __len__(self) -> int:
        return 10

    def feed(self, index: int) -> Feed:
        return {"x": np.full((1, 2), index, np.float32)}


@given(st.integers(4, 600), st.integers(0, 2**32))
def test_one_place_is_split_into_disjoint_parts_that_leave_nothing_out(
    total: int, seed: int
) -> None:
    parts = split_indices(total, seed)

    assert sorted(i for part in parts for i in part) == list(range(total))
    assert len(parts[0]) == min(128, total // 2)
    assert 0 <= len(parts[2]) - len(parts[1]) <= 1


@given(st.integers(2, 600), st.integers(0, 2**32))
def test_a_training_set_is_split_into_calibration_and_search(total: int, seed: int) -> None:
    calibration, search = training_indices(total, seed)

    assert sorted(calibration + search) == list(range(total))
    assert len(calibration) == min(128, total // 2)


@given(st.integers(2, 600), st.integers(0, 2**32))
def test_halves_leave_nothing_out(total: int, seed: int) -> None:
    search, report = halves(total, seed)

    assert sorted(search + report) == list(range(total))
    assert abs(len(search) - len(report)) <= 1


def test_the_seed_alone_decides() -> None:
    assert split_indices(100, 7) == split_indices(100, 7)
    assert split_indices(100, 7) != split_indices(100, 8)
    assert draw(10, 4, 3) == draw(10, 4, 3)
    assert draw(10, 40, 3) == tuple(range(10))


def test_a_split_reads_its_rows_again_in_the_same_order() -> None:
    split = Split(samples=Counting(), indices=(3, 1))

    assert [feed["x"][0, 0] for feed in split.feeds()] == [3, 1]
    assert [label for _, label in split.rows()] == [None, None]


@pytest.mark.parametrize(
    ("function", "total", "message"),
    [
        (split_indices, 3, "at least 4 samples"),
        (halves, 1, "at least 2 samples"),
        (training_indices, 1, "at least 2 training samples"),
    ],
)
def test_too_few_rows_are_refused(function: object, total: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        function(total, 0)  # type: ignore[operator]


def test_a_row_in_two_splits_is_refused() -> None:
    samples = Counting()
    one, two, three = (Split(samples=samples, indices=i) for i in ((0, 1), (1, 2), (3,)))

    with pytest.raises(DataError, match="splits without a row in common"):
        TaskData(calibration=one, search=two, report=three)


def test_the_same_index_of_other_samples_is_another_row() -> None:
    one, two, three = (Split(samples=Counting(), indices=(0,)) for _ in range(3))

    assert TaskData(calibration=one, search=two, report=three).synthetic is False


def test_an_empty_split_is_refused() -> None:
    samples = Counting()
    one, two, three = (Split(samples=samples, indices=i) for i in ((0, 1), (2,), ()))

    with pytest.raises(DataError, match="none for report"):
        TaskData(calibration=one, search=two, report=three)


def test_an_example_repeats_and_cuts_open_axes_and_leaves_fixed_ones() -> None:
    inputs = (
        tensor("ids", "batch", "sequence", dtype="int64"),
        tensor("image", 1, 3, "height", 2),
    )
    sample = {"ids": np.array([[1, 2, 3]]), "image": np.zeros((1, 3, 5, 2), np.float32)}

    feed = example(inputs, sample, batch=2, length=5)

    assert feed["ids"].tolist() == [[1, 2, 3, 1, 2]] * 2
    assert feed["image"].shape == (1, 3, 5, 2)
