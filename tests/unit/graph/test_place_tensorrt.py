"""What the documents ask of a Q/DQ file for TensorRT, each rule on the smallest graph with it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from gossamer.graph.place import Wish, place
from gossamer.plan import Decision, Plan, Reason
from zoo.explicit import faults
from zoo.placed import (
    ORT,
    TENSORRT,
    agreement,
    block,
    conv_relu_conv,
    graph,
    quantized,
    residual,
)

CONV = "Conv <pads = [1, 1, 1, 1]>"
POINTWISE = (32, 32, 1, 1)


def planned(model: ir.Model) -> Plan:
    return place(model, TENSORRT, Wish())


def made(text: str, seed: int = 0, **constants: object) -> ir.Model:
    return graph(text, seed, **constants)  # type: ignore[arg-type]


def decided(plan: Plan, op: str) -> Decision:
    return next(d for d in plan.decisions if d.op == op)


def skip(shortcut: str, **constants: object) -> ir.Model:
    """A Conv whose output is added to what `shortcut` makes of `x` as `s`."""
    return made(
        f"""(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {{ {shortcut}
        a = {CONV} (x, w1, b1)  t = Add(a, s)  r = Relu(t)  y = {CONV} (r, w2) }}""",
        w1=(16, 16, 3, 3), b1=(16,), w2=(16, 16, 3, 3), **constants,
    )  # fmt: skip


@pytest.mark.parametrize("build", [conv_relu_conv, residual, block])
def test_a_file_keeps_to_every_rule_and_computes_the_same(build: object) -> None:
    model = build()  # type: ignore[operator]
    written, plan = quantized(model, TENSORRT)
    assert plan.quantized
    assert faults(written, plan) == []
    # three layers in a row on random weights, with 127 steps on either side of 0
    assert agreement(model, written) > 25


def test_files_for_another_runtime_break_the_rules() -> None:
    written, plan = quantized(residual(), ORT)
    told = " ".join(faults(written, plan))
    assert all(part in told for part in ("zero point of uint8", "int bias", "2 int8 operands"))


def test_a_conv_writes_float_so_that_its_activation_joins_it() -> None:
    plan = planned(conv_relu_conv())
    assert [d.outputs for d in plan.quantized] == [(), ()]
    assert plan.values == ("x", "r")  # behind the Relu, not in front of it


@pytest.mark.parametrize(
    ("shortcut", "wanted"),
    [
        ("s = Relu(x)", ("s",)),
        ("s = Conv (x, w3)", ("s",)),  # both are Convs: one of them
        ("s = Identity(x)", ("s",)),
    ],
)
def test_the_residual_input_alone_is_quantized(shortcut: str, wanted: tuple[str, ...]) -> None:
    weights = {"w3": (16, 16, 1, 1)} if "w3" in shortcut else {}
    model = skip(shortcut, **weights)
    add = decided(planned(model), "Add")
    assert add.is_quantized
    assert len(add.inputs) == 1
    assert add.inputs in (wanted, ("a",))
    written, plan = quantized(model, TENSORRT)
    assert faults(written, plan) == []


def test_an_add_of_a_conv_that_others_read_too_is_no_part_of_its_kernel() -> None:
    model = made(
        f"""(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y, float[1, 16, 8, 8] z) {{
        a = {CONV} (x, w1)  e = Exp(x)  y = Add(a, e)  z = Tanh(a) }}""",
        w1=(16, 16, 3, 3),
    )
    assert decided(planned(model), "Add").reason is Reason.NOT_INT8_NEIGHBOUR


@pytest.mark.parametrize(
    ("node", "shape", "detail"),
    [
        ("Conv", (16, 8, 1, 1), "8 input channels"),
        ("Conv", (8, 16, 1, 1), "8 output channels"),
        ("Conv <group = 32>", (32, 1, 1, 1), "depthwise"),
        ("MatMul", (8, 64), "8 products an output"),
        ("MatMul", (64, 8), "8 output channels"),
        ("Gemm <transB = 1>", (8, 64), "8 output channels"),
    ],
)
def test_what_is_too_small_to_pay_stays_in_float(
    node: str, shape: tuple[int, ...], detail: str
) -> None:
    op = node.split(maxsplit=1)[0]
    if op == "Conv":
        channels = 32 if "group" in node else shape[1]
        sizes = f"(float[1, {channels}, 8, 8] x) => (float[1, c, 8, 8] y)"
    else:
        rows = shape[1] if "transB" in node else shape[0]
        sizes = f"(float[4, {rows}] x) => (float[4, c] y)"
    found = decided(planned(made(f"{sizes} {{ y = {node} (x, w) }}", w=shape)), op)
    assert found.reason is Reason.UNPROFITABLE
    assert found.detail.startswith(detail)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [("1", Reason.UNPROFITABLE), ("8", Reason.QUANTIZED), ("batch", Reason.QUANTIZED)],
)
def test_a_product_of_one_row_stays_in_float_where_the_graph_says_so(
    rows: str, reason: Reason
) -> None:
    text = f"(float[{rows}, 64] x) => (float[{rows}, 64] y) {{ y = MatMul(x, w) }}"
    assert decided(planned(made(text, w=(64, 64))), "MatMul").reason is reason


def test_a_product_of_two_activations_stays_in_float() -> None:
    model = made(
        "(float[8, 64] x) => (float[8, 8] y) { t = Transpose(x) s = MatMul(x, t) y = Softmax(s) }"
    )
    found = decided(planned(model), "MatMul")
    assert (found.reason, planned(model).values) == (Reason.NO_WEIGHT, ())


@pytest.mark.parametrize(
    ("attributes", "shape", "axis"),
    [("", (32, 16, 2, 2), 1), ("group = 2,", (32, 16, 2, 2), None)],
)
def test_weights_have_a_scale_for_each_output_channel(
    attributes: str, shape: tuple[int, ...], axis: int | None
) -> None:
    model = made(
        f"""(float[1, 32, 8, 8] x) => (float[1, c, 16, 16] y) {{
        y = ConvTranspose <{attributes} strides = [2, 2]> (x, w) }}""",
        w=shape,
    )
    written, plan = quantized(model, TENSORRT)
    assert decided(plan, "ConvTranspose").weight_axis == axis
    assert faults(written, plan) == []


def test_q_and_dq_stand_in_front_of_a_max_pooling_once_for_all_readers() -> None:
    model = made(
        """(float[1, 32, 8, 8] x) => (float[1, 32, 4, 4] y, float[1, 32, 8, 8] z) { r = Relu(x)
        m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        y = Conv (m, w1)  z = Conv (r, w2) }""",
        w1=POINTWISE, w2=POINTWISE,
    )  # fmt: skip
    assert planned(model).values == ("r",)


@pytest.mark.parametrize(
    "nodes",
    [
        "z = GlobalAveragePool(a)",
        "z = LayerNormalization <axis = -1> (a, g)",
        "z = Softmax(a)",
        "d = Div(a, g) e = Erf(d) f = Add(e, g) h = Mul(a, f) z = Mul(h, g)",  # GELU
        "z = Concat <axis = 2> (a, a)",
    ],
)
def test_nothing_stands_inside_what_takes_floats(nodes: str) -> None:
    gain = {"g": np.ones(8, np.float32)} if "g)" in nodes else {}
    model = made(
        f"""(float[1, 32, 8, 8] x) => (float[1, 32, h, w] y) {{ a = Conv (x, w1) {nodes}
        y = Conv (z, w2) }}""",
        w1=POINTWISE, w2=POINTWISE, **gain,
    )  # fmt: skip
    written, plan = quantized(model, TENSORRT)
    assert plan.values == ("x", "z")
    assert faults(written, plan) == []


def test_what_stands_between_a_conv_and_its_activation_is_seen() -> None:
    model = made(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv (x, w)  q = QuantizeLinear (a, s, z)  d = DequantizeLinear (q, s, z)
        y = Relu(d) }""",
        w=(16, 16, 1, 1), s=np.array(0.1, np.float32), z=np.array(0, np.int8),
    )  # fmt: skip
    plan = Plan(target="tensorrt", cpu="portable", activation=TENSORRT.activation,
                weight=TENSORRT.weight)  # fmt: skip
    assert faults(model, plan) == ["quantizelinear1 stands between Conv and its activation"]
