"""Whatever graph comes: its int8 graphs load, run and follow the float model.

`hypothesis` draws a graph and one way to quantize it. One seed is one test, so that the processes
of a test run share them, and a failing one names itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import hypothesis
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings

from gossamer.errors import BuildError, MeasureError
from gossamer.graph.observers.moving_average import MovingAverage
from zoo.explicit import faults
from zoo.generated import Drawn, models
from zoo.kept import Kept
from zoo.placed import OPENVINO, ORT, TENSORRT
from zoo.ways import FloatError, Made, Way, made, outputs, ways, worst

LEAST_SQNR = 8.0  # dB; what computes something else has about 0
CUT_SQNR = 4.0  # of a moving average, which cuts a sample that is alone in being large
SAME = 20.0  # dB; where float graphs in two runtimes are less alike, one of them is wrong
SEEDS, GRAPHS = 6, 50  # of `make test`
MORE, EACH = 97, 100  # of `make test-all`: 10,000 together
OPENVINO_SEEDS, OPENVINO_GRAPHS = 20, 100
ASKED_AGAIN = 20
SKIPPED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
Check = Callable[[Drawn, Way], str]


def least(way: Way) -> float:
    """The SQNR that a graph must have."""
    is_cut = isinstance(getattr(way.step, "ranges", None), MovingAverage)
    return CUT_SQNR if is_cut else LEAST_SQNR


def draw(seed: int, graphs: int, check: Check, targets: tuple[object, ...]) -> None:
    """So many graphs; most of them must run in float, and many must have sites."""
    told = Counter[str]()

    @hypothesis.seed(seed)
    @settings(max_examples=graphs, database=None, deadline=None, suppress_health_check=SKIPPED)
    @given(drawn=models(), way=ways(targets))
    def holds(drawn: Drawn, way: Way) -> None:
        told[check(drawn, way)] += 1

    holds()
    assert told["quantized"] > graphs / 8, told
    assert told["refused"] < graphs / 4, told


def on_onnx_runtime(drawn: Drawn, way: Way) -> str:
    try:
        found = made(drawn, way)
    except FloatError:
        return "refused"
    # what is written for OpenVINO is standard ONNX; but ONNX Runtime's fusions make a graph of
    # it that it refuses itself, where int8 activations and opset 21 meet
    is_own = way.target.name == ORT.name
    content = ir.to_proto(found.graph).SerializeToString()
    got = outputs(content, drawn.feeds, optimize=is_own)
    assert worst(found.wanted, got) > least(way), way
    has_own = any(node.op_type == "QuantizeLinear" for node in drawn.model.graph)
    if way.target.name == TENSORRT.name and not has_own:
        assert faults(found.graph, found.plan) == []
    return "quantized" if found.plan.quantized else "float"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_generated_graphs(seed: int) -> None:
    draw(seed, GRAPHS, on_onnx_runtime, (ORT, OPENVINO, TENSORRT))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS + MORE))
def test_ten_thousand_generated_graphs(seed: int) -> None:
    draw(seed, EACH, on_onnx_runtime, (ORT, OPENVINO, TENSORRT))


def is_random(openvino: Kept, found: Made, drawn: Drawn) -> bool:
    """Whether OpenVINO says something else of the float graph when it is asked again.

    Behind an If it can read memory that nobody wrote, which may hold the right numbers by chance.
    """
    again = (openvino.outputs(found.plain, drawn.feeds) for _ in range(ASKED_AGAIN))
    return any(not worst(found.wanted, each) > SAME for each in again)


@pytest.mark.slow
@pytest.mark.openvino
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(OPENVINO_SEEDS))
def test_generated_graphs_on_openvino(seed: int) -> None:
    pytest.importorskip("openvino")
    with Kept() as openvino:

        def on_openvino(drawn: Drawn, way: Way) -> str:
            try:
                found = made(drawn, way)
            except FloatError:
                return "refused"
            if not found.plan.quantized:
                return "float"
            try:  # OpenVINO crashes on some float graphs, and computes something else of others
                plain = openvino.outputs(found.plain, drawn.feeds)
            except (BuildError, MeasureError):
                return "refused"
            if not worst(found.wanted, plain) > SAME:
                return "refused"
            got = openvino.outputs(found.graph, drawn.feeds)
            if not worst(found.wanted, got) > least(way) and is_random(openvino, found, drawn):
                return "refused"
            assert worst(found.wanted, got) > least(way), way
            return "quantized"

        draw(seed, OPENVINO_GRAPHS, on_openvino, (OPENVINO,))
