"""benchmarks/repeats.py: what spread is, and what its table says."""

from __future__ import annotations

import importlib
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def repeats(repository: Path) -> types.ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository))
        return importlib.import_module("benchmarks.repeats")


@given(st.lists(st.floats(0.1, 10), min_size=1), st.floats(0.1, 10))
def test_spread_does_not_depend_on_the_size_of_a_ratio(
    repeats: types.ModuleType, ratios: list[float], factor: float
) -> None:
    found = repeats.spread(ratios)

    assert found >= 0
    assert repeats.spread([factor * x for x in ratios]) == pytest.approx(found, abs=1e-9)
    assert repeats.spread([ratios[0]] * 3) == 0


def test_the_table_has_a_line_for_each_model_and_runtime(repeats: types.ModuleType) -> None:
    ways = {way: {"spread": 0.1, "ratios": [1.9, 2.0, 2.1]} for way in ("gossamer bench", "timeit")}
    row = {"model": "b", "runtime": "ort", "ways": ways, "environment": {"threads": 2}}

    lines = repeats.render([row, {**row, "model": "a"}]).splitlines()

    assert lines[2] == "| a | ort | 2 | 3 | 10 %, 1.90 to 2.10 | 10 %, 1.90 to 2.10 | – | – |"
    assert lines[3].startswith("| b |")
    assert [line.count("|") for line in lines[:4]] == [9] * 4
    assert "more than 5.0 % away" in lines[-1]


def test_models_of_the_real_folder_exist(repeats: types.ModuleType, real: Path) -> None:
    assert [m for m in repeats.MODELS.values() if not (real / m).exists()] == []
