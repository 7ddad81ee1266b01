"""Factors move from a value into what makes it, and the model computes the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gossamer.graph.layout import CHANNEL_AXES, by_output, divided, input_channels
from gossamer.graph.match import constant
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.place import Wish, place
from gossamer.graph.rescale import channels, fold, makers
from gossamer.graph.smooth import factors
from gossamer.graph.weights import constant_input
from zoo.placed import (
    OPENVINO,
    ORT,
    agreement,
    conv_relu_conv,
    feed,
    graph,
    observed,
    quantized,
    residual,
)
from zoo.placed import run as run_model

CONV = "Conv <pads = [1, 1, 1, 1]>"
Weights = NDArray[np.float32]


def ones(*size: int) -> Weights:
    return np.ones(size, np.float32)


def depthwise() -> ir.Model:
    return graph(
        f"""(float[1, 4, 8, 8] x) => (float[1, 24, 8, 8] y) {{
        a = Conv (x, w1)  v = Relu(a)
        d = Conv <pads = [1, 1, 1, 1], group = 12> (v, w2)  e = {CONV} (v, w3)  y = Add(d, e) }}""",
        w1=(12, 4, 1, 1), w2=(24, 1, 3, 3), w3=(24, 12, 3, 3),
    )  # fmt: skip


def grouped() -> ir.Model:
    return graph(
        """(float[1, 4, 8, 8] x) => (float[1, 6, 8, 8] y) {
        a = Conv (x, w1, b1)  v = LeakyRelu <alpha = 0.1> (a)
        y = Conv <pads = [1, 1, 1, 1], group = 3> (v, w2) }""",
        w1=(12, 4, 1, 1), b1=(12,), w2=(6, 4, 3, 3),
    )  # fmt: skip


def perceptron() -> ir.Model:
    return graph(
        """(float[2, 16] x) => (float[2, 8] y) {
        a = Gemm (x, w1, b1)  v = Relu(a)  y = Gemm <transB = 1> (v, w2) }""",
        w1=(16, 32), b1=(32,), w2=(8, 32),
    )  # fmt: skip


def matmuls() -> ir.Model:
    return graph(
        """(float[1, 4, 16] x) => (float[1, 4, 8] y) {
        p = MatMul(x, w1)  a = Add(b1, p)  v = Relu(a)  q = MatMul(v, w2)  r = MatMul(v, w3)
        y = Add(q, r) }""",
        w1=(16, 32), b1=(32,), w2=(32, 8), w3=(32, 8),
    )  # fmt: skip


def normalization() -> ir.Model:
    return graph(
        """(float[1, 4, 16] x) => (float[1, 4, 8] y, float[1, 4, 16] z) {
        v = LayerNormalization <axis = -1> (x, g, b)  y = MatMul(v, w1)
        z = LayerNormalization <axis = -1> (x, g, b) }""",
        g=ones(16), b=(16,), w1=(16, 8),
    )  # fmt: skip


def attention() -> ir.Model:
    return graph(
        """(float[1, 4, 16] x) => (float[1, 4, 8] y) {
        q = MatMul(x, wq)  k = MatMul(x, wk)  p = MatMul(x, wv)
        v = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, p, b)  y = MatMul(v, wo) }""",
        wq=(16, 16), wk=(16, 16), wv=(16, 16), b=(48,), wo=(16, 8),
    )  # fmt: skip


MODELS = (depthwise, grouped, perceptron, matmuls, normalization, attention)


def value_of(model: ir.Model, name: str = "v") -> ir.Value:
    return next(v for node in model.graph for v in node.outputs if v.name == name)


@pytest.mark.parametrize("build", MODELS, ids=lambda f: f.__name__)
@settings(max_examples=25)  # each draws all factors, and runs four graphs
@given(sizes=arrays(np.float32, 32, elements=st.floats(2**-6, 2**6, width=32)))
def test_the_model_computes_the_same(build: Callable[[], ir.Model], sizes: Weights) -> None:
    model = build()
    data = feed(model)
    wanted = run_model(ir.to_proto(model), data)
    value = value_of(model)
    before = run_model(ir.to_proto(shown(model)), data)["v"]
    parts = makers(value, frozenset())
    each = sizes[: channels(parts)]

    fold(model.graph, parts, each)
    for use in tuple(value.uses()):
        weight = constant(use.node.inputs[1])
        assert weight is not None
        array = weight.numpy().astype(np.float32)
        assert input_channels(use.node, array) == len(each)
        fresh = constant_input(
            model.graph, f"{use.node.name}_divided", divided(use.node, array, each)
        )
        use.node.replace_input_with(1, fresh)

    got = run_model(ir.to_proto(model), data)
    for name, x in wanted.items():
        np.testing.assert_allclose(got[name], x, rtol=1e-3, atol=1e-4 * np.abs(x).max())
    axis = CHANNEL_AXES[next(iter(value.uses())).node.op_type]
    shape = [1] * before.ndim
    shape[axis] = -1
    after = run_model(ir.to_proto(shown(model)), data)["v"]
    np.testing.assert_allclose(after, before * each.reshape(shape), rtol=1e-3, atol=1e-4)


def shown(model: ir.Model) -> ir.Model:
    """A copy whose outputs are the model's and `v`."""
    copy = ir.from_proto(ir.to_proto(model))
    value = value_of(copy)
    value.type = ir.TensorType(ir.DataType.FLOAT)
    copy.graph.outputs.append(value)
    return copy


OTHERS = {
    "a value that two nodes make": "a = MatMul(x, w1)  b = MatMul(x, w2)  v = Add(a, b)",
    "what is no power of the factors": "a = MatMul(x, w1)  v = Tanh(a)",
    "what something else reads too": "a = MatMul(x, w1)  v = Relu(a)  t = Exp(a)",
    "a graph output": "v = MatMul(x, w1)  y = MatMul(v, w3)",
}


@pytest.mark.parametrize("nodes", OTHERS.values(), ids=OTHERS)
def test_factors_are_not_taken_in_by(nodes: str) -> None:
    inner = nodes if "y =" in nodes else f"{nodes}  y = MatMul(v, w3)"
    weights = {w: (64, 64) for w in ("w1", "w2", "w3") if w in inner}
    outputs = "float[1, 4, 64] y" + (", float[1, 4, 64] v" if inner.startswith("v") else "")
    model = graph(f"(float[1, 4, 64] x) => ({outputs}) {{ {inner} }}", **weights)
    for name, target in (("ort", ORT), ("openvino", OPENVINO)):
        assert "v" not in place(model, target, Wish()).rescaled, name


def test_a_value_with_one_number_of_each_channel_stays_as_it_is() -> None:
    for target in (ORT, OPENVINO):
        assert place(perceptron(), target, Wish()).rescaled == ()


def test_rows_of_an_image_are_no_channels() -> None:
    """A Conv makes channels along axis 1, a MatMul reads others along the last."""
    model = graph(
        """(float[1, 4, 16, 16] x) => (float[1, 16, 16, 640] y) {
        c = Conv(x, w1)  v = Relu(c)  y = MatMul(v, w2) }""",
        w1=(16, 4, 1, 1), w2=(16, 640),
    )  # fmt: skip
    for target in (ORT, OPENVINO):
        assert "v" not in place(model, target, Wish()).rescaled


def test_a_weight_that_two_products_share_is_left_alone() -> None:
    model = graph(
        """(float[1, 4, 16] x) => (float[1, 4, 8] y, float[1, 4, 16] z) {
        v = MatMul(x, w1)  y = MatMul(v, w2)  z = MatMul(x, w1) }""",
        w1=(16, 16), w2=(16, 8),
    )  # fmt: skip
    assert makers(value_of(model), frozenset()) == ()


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_planted_outliers_between_convs_cost_nothing(target) -> None:
    """Channels blown up in one Conv and shrunk in the next come to the Q at one size again."""
    plain, planted = conv_relu_conv(), conv_relu_conv()
    sizes = np.exp(np.random.default_rng(3).normal(size=16) * 2).astype(np.float32)
    for name, shape in (("w1", (-1, 1, 1, 1)), ("b1", (-1,))):
        value = planted.graph.initializers[name]
        value.const_value = ir.Tensor(constant_of(value) * sizes.reshape(shape), name=name)
    value = planted.graph.initializers["w2"]
    value.const_value = ir.Tensor(constant_of(value) / sizes.reshape(1, -1, 1, 1), name="w2")

    written, plan = quantized(planted, target)

    assert plan.rescaled == ("r",)
    assert [n.op_type for n in written.graph].count("Mul") == 0
    assert agreement(planted, written) > agreement(plain, quantized(plain, target)[0]) - 1


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_channels_of_about_one_size_are_left_as_they_are(target) -> None:
    model = conv_relu_conv()
    plan = place(model, target, Wish())
    assert plan.rescaled == ("r",)
    assert factors(model.graph, plan, observed(model, plan.values, feed(model)), MinMax()) == {}


def constant_of(value: ir.Value) -> Weights:
    tensor = constant(value)
    assert tensor is not None
    return np.asarray(tensor.numpy(), np.float32)


def test_a_value_that_a_residual_reads_too_stays_as_it_is() -> None:
    plan = place(residual(), ORT, Wish())
    assert "r" not in plan.rescaled


def test_the_weight_of_a_group_lies_by_output_and_input() -> None:
    model = grouped()
    conv = next(n for n in model.graph if n.op_type == "Conv" and len(n.inputs) == 2)
    array = np.arange(6 * 4 * 9, dtype=np.float32).reshape(6, 4, 3, 3)
    found = by_output(conv, array)
    assert found.shape == (3, 2, 4, 9)
    assert found[1, 0, 2, 4] == array[2, 2, 1, 1]
