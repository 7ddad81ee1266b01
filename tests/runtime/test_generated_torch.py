"""Whatever graph comes: PyTorch says of it what ONNX Runtime says, in float and in int8."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import hypothesis
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from gossamer.errors import BuildError
from gossamer.runtime import Feed
from gossamer.runtimes.torch_cpu import TorchCpu
from zoo.generated import Drawn, models
from zoo.placed import TORCH
from zoo.ways import FloatError, Way, made, ways, worst

FLOAT_SQNR = 80.0  # dB; float32 in another order of summation has more than 100
LEAST_SQNR = 8.0  # dB; what computes something else has about 0
GRAPHS = 40

pytestmark = pytest.mark.torch


def by_torch(model: ir.Model, feeds: tuple[Feed, ...]) -> list[Feed]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ir.save(model, path)
        session = TorchCpu().open(path, threads=1)
        return [session.run(feed) for feed in feeds]


def test_generated_graphs_on_torch() -> None:
    told = Counter[str]()

    @hypothesis.seed(0)
    @settings(max_examples=GRAPHS, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(drawn=models(), way=ways((TORCH,)))
    def holds(drawn: Drawn, way: Way) -> None:
        try:
            found = made(drawn, way)
            plain = by_torch(found.plain, drawn.feeds)
        except (FloatError, BuildError):  # of operators that the reader does not know
            told["refused"] += 1
            return
        assert worst(found.wanted, plain) > FLOAT_SQNR
        got = by_torch(found.graph, drawn.feeds)
        assert worst(found.wanted, got) > LEAST_SQNR, way
        told["quantized" if found.plan.quantized else "float"] += 1

    holds()
    assert told["quantized"] > GRAPHS / 10, told
