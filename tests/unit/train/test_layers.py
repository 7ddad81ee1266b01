"""Layers by path, by pattern, and in pairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import TrainingError

torch = pytest.importorskip("torch")
from gossamer.train.layers import blocks, paths, uniform  # noqa: E402
from zoo.encoder import encoder  # noqa: E402

pytestmark = pytest.mark.torch


@given(student=st.integers(1, 12), more=st.integers(0, 24))
def test_layers_are_paired_in_order_the_last_with_the_last(student: int, more: int) -> None:
    names = [str(i) for i in range(student + more)]

    found = uniform(names[:student], names)

    assert found[-1] == names[-1]
    assert list(found) == sorted(set(found), key=int)
    assert uniform(["0", "1"], [*"012345"]) == ("2", "5")


def test_a_teacher_with_fewer_layers_is_refused() -> None:
    with pytest.raises(TrainingError, match="at least as many layers"):
        uniform(["a", "b"], ["c"])


def test_repeated_layers_and_patterns_find_modules() -> None:
    model = encoder(0, layers=3)

    assert blocks(model) == ("layer.0", "layer.1", "layer.2")
    assert paths(model, ["layer.[02]"]) == ("layer.0", "layer.2")
    assert paths(model, ["layer.1*"]) == ("layer.1",)
    with pytest.raises(TrainingError, match="repeated layers in a ModuleList of Linear"):
        blocks(torch.nn.Linear(1, 1))
