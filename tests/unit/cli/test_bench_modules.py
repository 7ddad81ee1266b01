"""PyTorch's own rows: the module itself, called as it is or compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.errors import BuildError, MeasureError, RecipeError, TargetError
from gossamer.measure import modules
from gossamer.measure.isolate import Isolated
from gossamer.source import FloatModel, TensorType

pytestmark = pytest.mark.torch

FACTORY = """
import torch
from torch import nn

class Two(nn.Module):
    def forward(self, x, count):
        return {"double": 2 * x, "both": (x + 1, count)}

def two():
    return Two(), {"x": torch.ones(2, 3), "count": torch.ones(2, 1, dtype=torch.int64)}

class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return self.linear(x)

def one():
    return One(), {"x": torch.ones(2, 2)}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a module of factories."""
    (tmp_path / "factories_of_a_bench.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def two(here: Path) -> Path:
    model = FloatModel(
        path=here,
        inputs=(TensorType(name="x", dtype="float32", shape=("batch", 3)),),
        outputs=(TensorType(name="double", dtype="float32", shape=("batch", 3)),),
        digest="",
    )
    return modules.module_file("factories_of_a_bench:two", model, here / "file")


def feed() -> dict[str, Any]:
    return {"x": np.full((2, 3), 3, np.float32), "count": np.full((2, 1), 5)}


def test_every_tensor_of_a_module_comes_back(two: Path) -> None:
    with Isolated("torch-eager", two, threads=1) as session:
        outputs = session.run(feed())

    assert list(outputs) == ["double", "output_1", "output_2"]
    assert [x.flat[0] for x in outputs.values()] == [6, 4, 5]


def test_bfloat16_is_for_numbers_with_a_fraction(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "cpu_flags", lambda: ("avx512_bf16",))

    outputs = (
        modules.runtime("torch-eager-bf16")
        .open(two, threads=1)
        .run({**feed(), "x": np.full((2, 3), 1 + 2**-12, np.float32)})
    )

    assert outputs["double"].flat[0] == 2  # eight bits of it
    assert outputs["output_2"].flat[0] == 5


def test_a_cpu_without_bfloat16_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "cpu_flags", lambda: ("avx2",))

    with pytest.raises(TargetError, match="bfloat16, for torch-compile-bf16"):
        modules.runtime("torch-compile-bf16")


def test_a_name_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(RecipeError, match="torch-eager"):
        modules.runtime("torch-eagre")


def test_what_a_module_refuses_is_told(two: Path) -> None:
    session = modules.runtime("torch-eager").open(two, threads=1)

    with pytest.raises(MeasureError, match="TypeError"):
        session.run({"y": np.ones(2)})


def test_a_graph_is_no_module(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="torch-cpu"):
        modules.runtime("torch-eager").build(tmp_path / "model.onnx", tmp_path)


def test_sessions_side_by_side_share_the_module(two: Path) -> None:
    sessions = modules.runtime("torch-eager").open_parallel(two, threads=2)

    assert len(sessions) == 2
    assert all(session.run(feed())["double"].flat[0] == 6 for session in sessions)


@pytest.mark.slow
def test_a_compiled_module_gives_the_same(two: Path) -> None:
    with (
        Isolated("torch-eager", two, threads=1) as eager,
        Isolated("torch-compile", two, threads=1) as compiled,
    ):
        expected, got = eager.run(feed()), compiled.run(feed())

    assert list(expected) == list(got)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6)


@pytest.mark.usefixtures("here")
def test_a_bench_has_a_row_of_the_module_beside_its_graph(call: Callable[..., Any]) -> None:
    asked = ["factories_of_a_bench:one", "--runtime", "torch-eager", "--runtime", "ort"]

    done = call("bench", *asked, "--seconds", 0.01, "--json")

    rows = done.document["rows"]
    assert [row["runtime"] for row in rows] == ["torch-eager", "ort"]
    assert [row["size_bytes"] is None for row in rows] == [True, False]
    assert rows[0]["ratio"] == 1


def test_a_model_that_is_no_module_has_no_such_row(model: Path, call: Callable[..., Any]) -> None:
    alone = call("bench", model, "--runtime", "torch-eager")

    assert alone.code == 2
    assert "torch-eager" in alone.err
