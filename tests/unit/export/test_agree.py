"""How far two sets of outputs lie apart, and how that is said."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.errors import ExportError
from gossamer.export.agree import check_agreement, difference

INFINITE = float("inf")


def test_difference_is_relative_to_the_largest_value_of_each_output() -> None:
    y = {"a": np.array([100.0, 1.0]), "b": np.array([1, 2])}

    assert difference(y, y)[0] == 0.0
    assert difference(y, y | {"a": np.array([100.0, 2.0])}) == (0.01, "a")
    assert difference(y, y | {"b": np.array([1, 3])}) == (INFINITE, "b")


def test_outputs_that_are_missing_or_have_another_shape_differ_infinitely() -> None:
    y = {"a": np.ones((2, 3))}

    assert difference(y, {}) == (INFINITE, "a")
    assert difference(y, {"a": np.ones((3, 2))}) == (INFINITE, "a")
    assert difference({"a": np.ones((0, 3))}, {"a": np.ones((0, 3))})[0] == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_must_lie_in_the_same_places(value: float) -> None:
    y, z = {"a": np.array([value, 1.0])}, {"a": np.array([0.0, 1.0])}

    assert difference(y, y)[0] == 0.0
    assert difference(y, z) == (INFINITE, "a")
    assert difference(z, y) == (INFINITE, "a")


def test_infinities_of_opposite_sign_differ() -> None:
    y, z = {"a": np.array([np.inf, 1.0])}, {"a": np.array([-np.inf, 1.0])}

    assert difference(y, z) == (INFINITE, "a")


def test_an_output_of_zeros_agrees_with_zeros_alone() -> None:
    zeros = {"a": np.zeros(3, np.float32)}

    assert difference(zeros, zeros)[0] == 0.0
    assert difference(zeros, {"a": np.full(3, 1e-3, np.float32)})[0] > 1.0


def test_agreement_ends_at_a_thousandth_of_the_largest_value() -> None:
    y = [{"logits": np.array([[1000.0, 1.0]])}]
    check_agreement(y, [{"logits": np.array([[1000.9, 1.9]])}], "the module")

    with pytest.raises(ExportError, match=r"agrees with the module to 0.001 .*0.002 .* 'logits'"):
        check_agreement(y, [{"logits": np.array([[1000.0, 3.0]])}], "the module")
