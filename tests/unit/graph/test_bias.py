from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.graph import qdq
from gossamer.graph.bias import channel_axes, mean_error
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.place import Wish, place
from gossamer.graph.steps.quantize_static import parameters
from gossamer.target import TargetSpec
from zoo.placed import OPENVINO, ORT, Feed, graph, observed, quantized, run


def conv(groups: int = 1, kernel: int = 3) -> ir.Model:
    return graph(
        f"""(float[1, 8, 9, 9] x) => (float[1, 16, m, n] y) {{
        a = Conv <group = {groups}> (x, w, b)  y = Relu(a) }}""",
        w=(16, 8 // groups, kernel, kernel), b=np.full(16, 9, np.float32),
    )  # fmt: skip


def gemm() -> ir.Model:
    return graph(
        "(float[1, 256] x) => (float[1, 64] y) { y = Gemm <transB = 1> (x, w, b) }",
        w=(64, 256), b=(64,),
    )  # fmt: skip


def wide_bias() -> ir.Model:
    return graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) {
        t = Tanh(x)  p = MatMul(t, w)  y = Add(p, b) }""",
        w=(128, 128), b=(1, 1, 128),
    )  # fmt: skip


def matmul() -> ir.Model:
    return graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) {
        t = Tanh(x)  p = MatMul(t, w)  y = Add(b, p) }""",
        w=(128, 128), b=(128,),
    )  # fmt: skip


@given(groups=st.sampled_from([1, 2, 8]), kernel=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_the_error_of_a_convolution_is_that_of_constant_channels(
    groups: int, kernel: int, seed: int
) -> None:
    model = conv(groups, kernel)
    random = np.random.default_rng(seed)
    error = random.normal(size=(16, 8 // groups, kernel, kernel)).astype(np.float32)
    mean = random.normal(size=8).astype(np.float32)
    model.graph.initializers["w"].const_value = ir.Tensor(error)
    model.graph.initializers["b"].const_value = ir.Tensor(np.full(16, 1e3, np.float32))
    data: Feed = {"x": np.tile(mean[None, :, None, None], (1, 1, 9, 9))}
    wanted = run(ir.to_proto(model), data)["y"][0, :, 0, 0] - 1e3

    got = mean_error(next(iter(model.graph)), error, mean)

    assert got is not None
    np.testing.assert_allclose(got, wanted, atol=1e-3)


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
@pytest.mark.parametrize("build", [conv, gemm, matmul, wide_bias])
def test_biases_take_back_the_mean_error_of_weights(
    build: Callable[[], ir.Model], target: TargetSpec
) -> None:
    model = build()
    random = np.random.default_rng(0)
    shape = [int(d) for d in model.graph.inputs[0].shape or ()]
    channels = random.normal(size=(1, shape[1], 1, 1) if len(shape) == 4 else shape[-1:])
    noise = random.normal(size=shape) / 20
    data: Feed = {"x": (channels + noise).astype(np.float32)}
    plan = place(model, target, Wish())
    assert len(plan.quantized) >= 1
    corrected, _ = quantized(model, target, Wish(), data)
    numbers = parameters(plan, observed(model, plan.values, data), MinMax(), {})
    plainly = qdq.write(ir.from_proto(ir.to_proto(model)), plan, numbers)

    def error(other: ir.Model) -> float:
        """Of the weights alone: what rounding activations does is the same for both."""
        for node in list(other.graph):
            if node.op_type == "QuantizeLinear":
                for use in tuple(node.outputs[0].uses()):
                    if not use.node.outputs[0].is_graph_output():
                        use.node.outputs[0].replace_all_uses_with(node.inputs[0])
        wrong = run(ir.to_proto(other), data)["y"] - run(ir.to_proto(model), data)["y"]
        axes = tuple(i for i in range(wrong.ndim) if i != (1 if wrong.ndim == 4 else 2))
        return float(np.abs(wrong.mean(axis=axes) if wrong.ndim > 2 else wrong).max())

    assert error(corrected) < error(plainly) / 4


def test_a_bias_that_two_sites_share_is_corrected_for_each() -> None:
    model = graph(
        """(float[1, 8, 9, 9] x) => (float[1, 16, 7, 7] y) {
        c = Conv(x, w1, b)  d = Conv(x, w2, b)  y = Add(c, d) }""",
        w1=(16, 8, 3, 3), w2=(16, 8, 3, 3), b=(16,),
    )  # fmt: skip
    written, _ = quantized(model, OPENVINO)
    first, second = (
        n.inputs[2].const_value.numpy()  # type: ignore[union-attr]
        for n in written.graph
        if n.op_type == "Conv"
    )
    assert not np.array_equal(first, second)
    assert "b" not in written.graph.initializers


def test_a_product_without_a_bias_gets_none() -> None:
    model = graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) {
        t = Tanh(x)  p = MatMul(t, w)  y = Relu(p) }""",
        w=(128, 128),
    )
    written, _ = quantized(model, ORT)
    assert "Add" not in [n.op_type for n in written.graph]


def test_channels_lie_where_the_readers_of_a_value_look_for_them() -> None:
    model = graph(
        """(float[1, 8, 8, 8] x) => (float[1, 8, 8, 8] y) {
        c = Conv(x, w1)  t = Tanh(c)  p = MatMul(t, w2)  y = Add(p, x) }""",
        w1=(8, 8, 1, 1), w2=(8, 8),
    )  # fmt: skip
    assert channel_axes(model.graph, ("x", "t", "p", "other")) == {"x": 1, "t": -1}
