from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.place import Wish, place
from gossamer.graph.smooth import extremes, factors
from gossamer.statistics import ChannelStatistics
from zoo import statistics
from zoo.placed import OPENVINO, agreement, feed, graph, observed, quantized, residual, run, sqnr


def normalised() -> ir.Model:
    """A value that two int8 products and a residual read."""
    return graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) {
        n = LayerNormalization <axis = -1> (x, g)  p = MatMul(n, w1)  q = MatMul(n, w2)
        r = Add(p, q)  y = Add(n, r) }""",
        g=np.ones(128, np.float32), w1=(128, 128), w2=(128, 128),
    )  # fmt: skip


def test_a_smoothed_value_comes_to_its_q_through_a_mul() -> None:
    model = normalised()
    written, plan = quantized(model, OPENVINO)
    assert plan.smoothed == ("n",)
    (mul,) = (n for n in written.graph if n.op_type == "Mul")
    assert [u.node.op_type for u in mul.outputs[0].uses()] == ["QuantizeLinear"]
    (add,) = (n for n in written.graph if n.name == "add4")
    assert add.inputs[0] is mul.inputs[0]
    plainly, _ = quantized(model, replace(OPENVINO, smooths=False))
    assert agreement(model, written) > agreement(model, plainly) - 1


def test_smoothing_saves_small_channels_from_large_ones() -> None:
    model = normalised()
    sizes = np.ones(128, np.float32)
    sizes[[3, 70]] = 200, 0  # an outlier, and a channel that is always 0
    model.graph.initializers["g"].const_value = ir.Tensor(sizes)
    written, _ = quantized(model, OPENVINO)
    plainly, _ = quantized(model, replace(OPENVINO, smooths=False))
    data = feed(model)
    x = run(ir.to_proto(model), data)["y"]
    rest = [i for i in range(128) if i not in (3, 70)]  # of y = n + …, where n hides the noise
    a, b = (run(ir.to_proto(m), data)["y"] for m in (written, plainly))
    assert sqnr(x[..., rest], a[..., rest]) > sqnr(x[..., rest], b[..., rest]) + 8


def test_values_that_convolutions_read_are_not_smoothed() -> None:
    assert quantized(residual(), OPENVINO)[1].smoothed == ()


def test_a_value_whose_channels_were_not_observed_gets_no_mul() -> None:
    model = normalised()
    plan = place(model, OPENVINO, Wish())
    found = observed(model, plan.values, feed(model))
    assert factors(model.graph, plan, replace(found, channels={}), MinMax()) == {}


def test_channels_that_a_sample_tells_get_a_wider_range() -> None:
    """Twice what was seen, the value's range for what was not, and nothing beyond it."""
    tensor = statistics.observed([np.array([-1, 0, 9], np.float32)])
    low, high = np.array([-0.5, 0, -0.9], np.float32), np.array([3, 0, 6], np.float32)
    known = ChannelStatistics(mean=high, low=low, high=high)
    ones = np.ones(3, np.float32)

    assert extremes(tensor, known, np.array([1, 0, 0], np.float32)) == (-1, 6)
    assert extremes(tensor, known, np.array([0, 1, 0], np.float32)) == (-1, 9)
    assert extremes(tensor, known, np.array([0, 0, 2], np.float32)) == (-2, 18)
    exact = replace(known, is_exact=True)
    assert extremes(tensor, exact, ones) == pytest.approx((-0.9, 6))


SIZES = st.one_of(st.just(0.0), st.floats(2**-20, 2**20, width=32))


@given(
    activations=arrays(np.float32, 12, elements=SIZES),
    weights=arrays(np.float32, 12, elements=SIZES),
)
def test_factors_are_bfloat16_and_keep_the_product(
    activations: NDArray[np.float32], weights: NDArray[np.float32]
) -> None:
    model = graph(
        """(float[1, 2, 12] x) => (float[1, 2, 4096] y) { a = Relu(x)  y = MatMul(a, w) }""",
        w=np.tile(weights[:, None], (1, 4096)),
    )
    plan = place(model, OPENVINO, Wish())
    assert plan.smoothed == ("a",)
    data = {"x": np.stack([activations, activations / 2])[None]}
    found = observed(model, plan.values, data)
    each = factors(model.graph, plan, found, MinMax())["a"]
    assert np.array_equal(each, each.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert np.all(each[(activations == 0) | (weights == 0)] == 1)
    assert each.min() >= 0.99e-3
    assert each.max() <= 1.01e3
    low, high = extremes(found.tensors["a"], found.channels["a"], each)
    assert low == 0
    assert high == (activations * each).max(initial=0)
