"""Scores equal their textbook values, and those of the usual packages."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.tasks import _scores
from gossamer.tasks._scores import f1, matthews, pearson, ranks, spearman

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40)


def columns(pairs: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(pairs, np.float64)
    return table[:, 0], table[:, 1]


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(_scores).failed == 0


def test_f1_of_two_classes_is_that_of_class_1() -> None:
    predicted, labels = columns([(1, 1), (1, 1), (1, 0), (0, 1), (0, 0)])

    assert f1(predicted, labels, classes=2) == pytest.approx(2 / 3)


def test_f1_of_more_classes_is_the_mean_over_those_that_occur() -> None:
    predicted, labels = columns([(0, 0), (2, 2), (2, 0), (0, 2)])

    assert f1(predicted, labels, classes=3) == pytest.approx(0.5)


def test_f1_without_any_positive_is_0() -> None:
    assert f1(np.zeros(3), np.zeros(3), classes=2) == 0


def test_matthews_of_a_table_is_its_textbook_value() -> None:
    # 6 true positives, 3 true negatives, 1 false positive, 2 false negatives
    pairs = [(1.0, 1.0)] * 6 + [(0.0, 0.0)] * 3 + [(1.0, 0.0)] + [(0.0, 1.0)] * 2

    expected = (6 * 3 - 1 * 2) / np.sqrt(7 * 8 * 4 * 5)

    assert matthews(*columns(pairs)) == pytest.approx(expected)


@pytest.mark.parametrize("score", [matthews, pearson, spearman])
def test_a_constant_prediction_correlates_with_nothing(score: object) -> None:
    assert score(np.ones(4), np.arange(4.0)) == 0  # type: ignore[operator]


def test_equal_values_share_their_rank() -> None:
    assert ranks(np.array([3.0, 1, 3, 2])).tolist() == [3.5, 1, 3.5, 2]


@given(LABELS)
def test_scores_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    predicted, labels = columns([(float(p), float(y)) for p, y in pairs])

    assert f1(predicted, labels, classes=4) == pytest.approx(
        metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    )
    if len(set(labels)) > 1 or len(set(predicted)) > 1:
        assert matthews(predicted, labels) == pytest.approx(
            metrics.matthews_corrcoef(labels, predicted), abs=1e-12
        )


@given(LABELS)
def test_spearman_agrees_with_scipy(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    x, y = columns([(float(p), float(v)) for p, v in pairs])
    if len(set(x)) == 1 or len(set(y)) == 1:
        return

    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
