"""Files with quantized operators, against the Q/DQ files that they stand for, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from gossamer.errors import TargetError
from gossamer.graph.qoperator import to_qoperators
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.statistics import Statistics
from gossamer.step import GraphContext
from zoo.placed import (
    CPU,
    OPENVINO,
    ORT,
    block,
    conv_relu_conv,
    feed,
    given,
    graph,
    observed,
    residual,
    run,
)

CONV = "Conv <pads = [1, 1, 1, 1]>"


def between(nodes: str) -> ir.Model:
    """A Conv that makes `a`, `nodes` from `a` and `b` to `z`, and a Conv that reads `z`."""
    return graph(
        f"""(float[1, 16, 8, 8] x) => (float[1, 16, h, w] y) {{ a = {CONV} (x, w1)
        b = {CONV} (x, w3) c = Add(a, b) {nodes} y = {CONV} (z, w2) }}""",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3), w3=(16, 16, 3, 3),
        **({"scales": np.array([1, 1, 2, 2], np.float32)} if "scales" in nodes else {}),
        **({"low": np.float32(0), "high": np.float32(6)} if "low" in nodes else {}),
    )  # fmt: skip


GRAPHS = {
    "Conv": (conv_relu_conv, {"QLinearConv": 2}),
    "Add": (residual, {"QLinearConv": 3, "QLinearAdd": 1}),
    "MatMul": (block, {"MatMulIntegerToFloat": 3}),
    "Gemm": (
        lambda: graph(
            """(float[2, 128] x) => (float[2, 8] y)
            { h = Gemm(x, w, b)  y = Gemm <transB = 1> (h, v, c) }""",
            w=(128, 128), b=(128,), v=(8, 128), c=(8,),
        ),
        {"QGemm": 2},
    ),
    "Mul": (lambda: between("z = Mul(a, c)"), {"QLinearMul": 1}),
    "Concat": (lambda: between("z = Concat <axis = 2> (a, c)"), {"QLinearConcat": 1}),
    "AveragePool": (
        lambda: between("z = AveragePool <kernel_shape = [2, 2]> (c)"), {"QLinearAveragePool": 1}
    ),
    "GlobalAveragePool": (
        lambda: between("z = GlobalAveragePool(c)"), {"QLinearGlobalAveragePool": 1}
    ),
    "Sigmoid": (lambda: between("z = Sigmoid(c)"), {"QLinearSigmoid": 1}),
    "LeakyRelu": (lambda: between("z = LeakyRelu <alpha = 0.2> (c)"), {"QLinearLeakyRelu": 1}),
    "MaxPool": (lambda: between("z = MaxPool <kernel_shape = [2, 2]> (c)"), {"MaxPool": 1}),
    "Resize": (lambda: between('z = Resize <mode = "nearest"> (c, , scales)'), {"Resize": 1}),
    "Clip": (lambda: between("z = Clip(c, low, high)"), {"Clip": 0, "QLinearAdd": 1}),
}  # fmt: skip


def both(model: ir.Model, **options: object) -> tuple[ir.Model, ir.Model]:
    """The model with Q/DQ, and with quantized operators."""
    clean = ir.from_proto(ir.to_proto(model))

    def statistics(values: Sequence[str]) -> Statistics:
        return observed(clean, tuple(values), feed(clean))

    context = GraphContext(
        target=ORT, cpu=CPU, record=lambda _: None, calibration=given(statistics, feed(clean))
    )
    step = QuantizeStatic(**options)  # type: ignore[arg-type]
    copies = (ir.from_proto(ir.to_proto(model)) for _ in range(2))
    return step.apply(next(copies), context), replace(step, format="qoperator").apply(
        next(copies), context
    )


@pytest.mark.parametrize("name", GRAPHS)
def test_what_the_runtime_would_make_of_q_dq_is_in_the_file(name: str) -> None:
    make, kernels = GRAPHS[name]
    given_, made = both(make())
    kinds = [node.op_type for node in made.graph]
    assert {kind: kinds.count(kind) for kind in kernels} == kernels
    assert kinds.count("DequantizeLinear") <= 1  # of the output
    data = feed(make())
    expected, got = (run(ir.to_proto(m), data)["y"] for m in (given_, made))
    np.testing.assert_array_equal(got, expected)  # the same kernels on the same numbers


@pytest.mark.parametrize("optimize", [True, False])
def test_without_the_runtimes_own_fusions_it_is_int8_still(optimize: bool) -> None:
    _, made = both(residual())
    found = run(ir.to_proto(made), feed(residual()), optimize=optimize)["y"]
    np.testing.assert_array_equal(found, run(ir.to_proto(made), feed(residual()))["y"])


def test_what_has_no_such_operator_keeps_its_pairs() -> None:
    given_, made = both(conv_relu_conv(), activation_bits=16)
    assert [n.op_type for n in made.graph] == [n.op_type for n in given_.graph]

    written = to_qoperators(conv_relu_conv())
    assert [n.op_type for n in written.graph] == ["Conv", "Relu", "Conv"]


def test_a_clip_that_cuts_off_more_than_its_q_stays() -> None:
    given_, _ = both(between("z = Clip(c, low, high)"))
    high = given_.graph.initializers["high"]
    high.const_value = ir.Tensor(np.float32(0.5), name="high")
    expected = run(ir.to_proto(given_), feed(given_))["y"]
    made = to_qoperators(given_)
    kinds = [n.op_type for n in made.graph]
    assert (kinds.count("Clip"), kinds.count("QLinearAdd"), kinds.count("QLinearConv")) == (1, 0, 3)
    np.testing.assert_array_equal(run(ir.to_proto(made), feed(made))["y"], expected)


def test_other_runtimes_are_refused() -> None:
    with pytest.raises(TargetError, match=r"runs quantized operators; received openvino-cpu.*qdq"):
        QuantizeStatic(format="qoperator").placed(conv_relu_conv(), OPENVINO, CPU)
