"""What every graph step must be, those of third parties included."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx
import onnx_ir as ir
import pytest

from gossamer import plugins
from gossamer.errors import TargetError
from gossamer.statistics import Statistics
from gossamer.step import GraphContext
from gossamer.target import TargetSpec
from zoo.placed import CPU, OPENVINO, ORT, agreement, block, feed, given, observed

LEAST = {"quantize-weights": 15}  # dB, of weights of 4 bits


@pytest.fixture(params=plugins.names("steps"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _statistics(values: Sequence[str]) -> Statistics:
    model = block()
    return observed(model, tuple(values), feed(model))


def test_it_is_a_frozen_value_that_survives_its_yaml_form(name: str) -> None:
    step = plugins.load("steps", name)()
    assert plugins.parse("steps", plugins.dump(step)) == step
    assert dataclasses.is_dataclass(step)


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_it_gives_a_valid_graph_with_the_same_borders_or_refuses_the_target(
    name: str, target: TargetSpec
) -> None:
    context = GraphContext(
        target=target, cpu=CPU, calibration=given(_statistics), record=lambda _: None
    )
    try:
        result = plugins.load("steps", name)().apply(block(), context)
    except TargetError:
        return
    if all(node.domain == "" for node in result.graph):
        onnx.checker.check_model(ir.to_proto(result), full_check=True)
    assert [v.name for v in result.graph.inputs] == ["x"]
    assert [v.name for v in result.graph.outputs] == ["y"]
    assert agreement(block(), result) > LEAST.get(name, 30)
