from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import PlanError
from gossamer.graph import qdq
from gossamer.graph.place import Wish, place
from gossamer.graph.weights import quantize_weight
from gossamer.quant import Granularity, QuantSpec
from gossamer.target import TargetSpec
from zoo.placed import (
    OPENVINO,
    ORT,
    agreement,
    block,
    conv_relu_conv,
    feed,
    graph,
    quantized,
    residual,
    run,
    sqnr,
)  # fmt: skip


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
@pytest.mark.parametrize("build", [conv_relu_conv, residual, block])
def test_the_written_graph_is_valid_and_close_to_float(build: object, target: TargetSpec) -> None:
    model = build()  # type: ignore[operator]
    written, _ = quantized(model, target)
    onnx.checker.check_model(ir.to_proto(written), full_check=True)
    assert agreement(model, written) > 30


def test_a_plan_for_another_graph_is_refused() -> None:
    plan = place(conv_relu_conv(), ORT, Wish())
    with pytest.raises(PlanError, match="a node named 'conv0'"):
        qdq.write(block(), plan, {})


def test_a_value_without_numbers_is_refused() -> None:
    model = block()
    with pytest.raises(PlanError, match="a value 'n' with a range"):
        qdq.write(model, place(model, ORT, Wish()), {})


def _biased(weight: float, bias: float) -> ir.Model:
    array = np.full((16, 16, 1, 1), 0.25, np.float32)
    array[3] = weight
    return graph(
        "(float[1, 16, 4, 4] x) => (float[1, 16, 4, 4] y) { y = Conv(x, w, b) }",
        w=array, b=np.full(16, bias, np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("weight", [0.0, 1e-12])
def test_the_bias_of_a_channel_without_weight_is_kept(weight: float) -> None:
    model = _biased(weight, 0.3)
    written, _ = quantized(model)
    data = feed(model)
    float_y, y = run(ir.to_proto(model), data)["y"], run(ir.to_proto(written), data)["y"]
    # the output's own 8 bits are all that may be lost
    step = (float_y.max() - float_y.min()) / 255
    assert np.abs(y[:, 3] - 0.3).max() <= step


def test_one_weight_may_serve_two_sites() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Conv <pads = [1, 1, 1, 1]> (a, w) }""",
        w=(16, 16, 3, 3),
    )
    written, _ = quantized(model)
    assert agreement(model, written) > 30
    assert sum("w_0_quantized" in name for name in written.graph.initializers) == 1


def test_names_that_the_graph_has_already_are_not_reused() -> None:
    model = graph(
        "(float[1, 128] x) => (float[1, 128] y) { z = Mul(x, x_scale)  t = Add(z, x)"
        "  p = MatMul(x, w)  y = Add(t, p) }",
        w=(128, 128), x_scale=np.array([3.0], np.float32),
    )  # fmt: skip
    written, _ = quantized(model)
    assert agreement(model, written) > 30


def test_a_quantized_graph_output_keeps_its_name() -> None:
    written, _ = quantized(conv_relu_conv())
    assert [v.name for v in written.graph.outputs] == ["y"]


def test_a_branch_keeps_the_float_value_that_it_captures() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)  l = ReduceMax(x)  c = Greater(l, zero)
        d = Squeeze(c)
        i = If <then_branch = t () => (float[1, 16, 8, 8] u) { u = Relu(a) },
                else_branch = e () => (float[1, 16, 8, 8] v) { v = Neg(a) }> (d)
        b = Conv <pads = [1, 1, 1, 1]> (a, w2)  y = Add(b, i) }""",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3), zero=np.array(0, np.float32),
    )  # fmt: skip
    written, plan = quantized(model)
    assert {"conv0", "conv5"} <= {d.site for d in plan.quantized}
    assert agreement(model, written) > 30
    branch = next(n for n in written.graph if n.op_type == "If").attributes["then_branch"]
    assert next(iter(branch.as_graph())).inputs[0].name == "a"


def test_zero_free_values_are_unsigned_where_they_are_never_negative() -> None:
    model = graph(
        """(float[4, 128] x) => (float[4, 128] y) { r = Relu(x)  a = MatMul(r, w1)
        y = MatMul(a, w2) }""",
        w1=(128, 128), w2=(128, 128),
    )  # fmt: skip
    written, _ = quantized(model, OPENVINO)
    zeros = {n: v.const_value.numpy() for n, v in written.graph.initializers.items()}  # type: ignore[union-attr]
    assert zeros["r_zero_point"].dtype == np.uint8
    assert zeros["a_zero_point"].dtype == np.int8
    assert zeros["r_zero_point"] == zeros["a_zero_point"] == 0


def test_a_conv_that_must_have_a_bias_gets_one_too_small_to_count() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)  e = Exp(a)  t = Tanh(a)  y = Add(e, t) }""",
        w1=(16, 16, 3, 3),
    )
    written, _ = quantized(model, OPENVINO)
    assert len(next(n for n in written.graph if n.op_type == "Conv").inputs) == 3
    assert agreement(model, written) > 25  # Exp amplifies the noise


def test_weights_have_one_scale_for_each_output_channel() -> None:
    array = np.array([[1.0, -0.5], [100.0, 50.0]], np.float32)
    stored, numbers = quantize_weight(array, QuantSpec(dtype="s8", symmetric=True), 0)
    assert numbers.scale.shape == ()
    spec = QuantSpec(dtype="s8", granularity="per-channel", symmetric=True)
    stored, numbers = quantize_weight(array, spec, 0)
    assert stored[:, 0].tolist() == [127, 127]
    assert sqnr(array, numbers.dequantize(stored)) > 40


SHAPES = [((4, 6, 3, 3), 0), ((4, 1, 3, 3), 0), ((5, 7, 3), 0), ((6, 4, 2, 2), 1), ((9, 4), 1),
          ((4, 9), 0), ((4, 9), None), ((4, 1, 1, 1), 0), ((2, 8, 4), 2)]  # fmt: skip


@given(
    layout=st.sampled_from(SHAPES),
    granularity=st.sampled_from(["per-tensor", "per-channel"]),
    outliers=st.floats(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_two_neighbours_overflow_an_s16_accumulator(
    layout: tuple[tuple[int, ...], int | None],
    granularity: Granularity,
    outliers: float,
    seed: int,
) -> None:
    shape, axis = layout
    array = np.random.default_rng(seed).standard_normal(shape) ** 3 * np.exp(outliers)
    spec = QuantSpec(dtype="s8", granularity=granularity, symmetric=True, accumulator="s16")

    stored = quantize_weight(array.astype(np.float32), spec, axis)[0].astype(int)

    rows = np.moveaxis(stored, axis or 0, 0)
    if axis is not None and axis < len(shape) - 1:
        rows = np.moveaxis(rows, 1, -1)  # the channels of one position lie side by side
    rows = rows.reshape(len(rows), -1)
    sums = 255 * (rows[:, 1:] + rows[:, :-1])
    assert np.abs(sums).max(initial=0) <= np.iinfo(np.int16).max
    assert np.abs(stored).max() >= 63  # at most one bit is given up


def test_weights_without_a_known_order_keep_7_bits_for_s16() -> None:
    spec = QuantSpec(dtype="s8", symmetric=True, accumulator="s16")
    stored, _ = quantize_weight(np.array([[1.0, -1.0]], np.float32), spec, None)
    assert stored.tolist() == [[64, -64]]
