from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from gossamer.errors import PlanError
from gossamer.graph.place import Wish, place
from gossamer.plan import Reason
from zoo.placed import (
    OPENVINO,
    ORT,
    block,
    conv_relu_conv,
    decision,
    graph,
    quantized,
    residual,
    run,
)

WISH = Wish(cpu="vnni")


def test_a_conv_absorbs_the_relu_behind_it_and_writes_int8() -> None:
    first = decision(place(conv_relu_conv(), ORT, WISH), "conv0")
    assert (first.inputs, first.outputs, first.fused) == (("x",), ("r",), ("relu1",))
    assert (first.weight, first.weight_axis, first.bias) == ("w1", 0, "b1")


def test_openvino_reads_int8_and_leaves_outputs_and_biases_to_the_runtime() -> None:
    plan = place(conv_relu_conv(), OPENVINO, WISH)
    assert all(not d.outputs and d.bias is None for d in plan.quantized)
    assert plan.values == ("x", "r")


def test_an_add_of_int8_values_follows_and_absorbs_its_relu() -> None:
    add = decision(place(residual(), ORT, WISH), "add3")
    assert add.is_quantized
    assert (add.inputs, add.outputs, add.fused) == (("b", "r"), ("t",), ("relu4",))


def test_an_add_follows_when_one_operand_is_made_and_the_other_read_in_int8() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) { e = Exp(x)
        a = Conv <pads = [1, 1, 1, 1]> (e, w1)  s = Add(a, e)
        y = Conv <pads = [1, 1, 1, 1]> (s, w2) }""",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3),
    )  # fmt: skip
    assert decision(place(model, ORT, WISH), "add2").inputs == ("a", "e")


def test_a_follower_that_no_int8_site_reads_stays_in_float() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)  b = Conv <pads = [1, 1, 1, 1]> (x, w2)
        y = Add(a, b) }""",
        w1=(16, 16, 3, 3),
        w2=(16, 16, 3, 3),
    )
    assert decision(place(model, ORT, WISH), "add2").reason is Reason.NOT_INT8_NEIGHBOUR


def test_openvino_quantizes_the_skip_and_not_what_the_conv_adds_to() -> None:
    assert decision(place(residual(), OPENVINO, WISH), "add3").inputs == ("r",)


def test_openvino_hoists_the_pair_above_nodes_that_only_move_numbers() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 5, 5] y) { e = Exp(x)
        p = Pad(e, pads)  m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (p)
        y = Conv <pads = [0, 0, 0, 0]> (m, w1) }""",
        w1=(16, 16, 1, 1), pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    )  # fmt: skip
    conv = decision(place(model, OPENVINO, WISH), "conv3")
    assert (conv.inputs, set(conv.through)) == (("e",), {"pad1", "maxpool2"})


def test_values_that_a_matmul_reads_need_zero_point_zero_on_openvino_alone() -> None:
    assert place(block(), OPENVINO, WISH).symmetric == ("n", "m")
    assert place(block(), ORT, WISH).symmetric == ()


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_a_small_matmul_stays_in_float_with_the_size_that_pays(target: object) -> None:
    model = graph("(float[1, 8] x) => (float[1, 8] y) { y = MatMul(x, w) }", w=(8, 8))
    found = decision(place(model, target, WISH), "matmul0")  # type: ignore[arg-type]
    assert (found.reason, found.detail) == (
        Reason.UNPROFITABLE,
        "64 weights; from 10000 on it pays",
    )


@pytest.mark.parametrize(("before", "expected"), [("Relu", True), ("Tanh", False)])
def test_openvino_runs_a_depthwise_conv_in_int8_behind_relu_only(
    before: str, expected: bool
) -> None:
    model = graph(
        f"""(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {{ r = {before}(x)
        y = Conv <group = 16, pads = [1, 1, 1, 1]> (r, w) }}""",
        w=(16, 1, 3, 3),
    )
    assert decision(place(model, OPENVINO, WISH), "conv1").is_quantized is expected


def test_a_product_whose_logarithm_is_taken_stays_in_float() -> None:
    model = graph(
        """(float[1, 128] x) => (float[1, 128] y) { p = MatMul(x, w1)  s = Mul(p, p)
        q = MatMul(s, w2)  f = Max(q, tiny)  l = Log(f)  y = MatMul(l, w3) }""",
        w1=(128, 128), w2=(128, 128), w3=(128, 128), tiny=np.array([1e-6], np.float32),
    )  # fmt: skip
    plan = place(model, ORT, WISH)
    reasons = {d.site: d.reason for d in plan.decisions if d.op == "MatMul"}
    excluded = Reason.EXCLUDED
    assert reasons == {"matmul0": excluded, "matmul2": excluded, "matmul5": Reason.QUANTIZED}


@pytest.mark.parametrize(
    ("attributes", "detail"),
    [("transA = 1", "transA"), ("alpha = 0.5", "alpha and beta"), ("beta = 2.0", "alpha and beta")],
)
def test_a_gemm_that_does_more_than_a_product_stays_in_float(attributes: str, detail: str) -> None:
    model = graph(
        f"(float[128, 128] x) => (float[128, 128] y) {{ y = Gemm <{attributes}> (x, w, b) }}",
        w=(128, 128), b=(128,),
    )  # fmt: skip
    found = decision(place(model, ORT, WISH), "gemm0")
    assert found.reason is Reason.NO_RULE
    assert detail in found.detail


def test_a_stack_of_weight_matrices_stays_in_float() -> None:
    model = graph(
        "(float[2, 4, 128] x) => (float[2, 4, 128] y) { y = MatMul(x, w) }", w=(2, 128, 128)
    )
    assert "stack of matrices" in decision(place(model, ORT, WISH), "matmul0").detail


def test_openvino_marks_a_conv_without_bias_whose_output_has_two_readers() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y, float[1, 16, 8, 8] z) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)  y = Exp(a)  z = Tanh(a) }""",
        w1=(16, 16, 3, 3),
    )
    assert decision(place(model, OPENVINO, WISH), "conv0").nonzero_bias
    assert not decision(place(model, ORT, WISH), "conv0").nonzero_bias


def test_who_runs_the_graph_is_a_reader_of_its_outputs() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] a, float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)  y = Exp(a) }""",
        w1=(16, 16, 3, 3),
    )
    assert decision(place(model, OPENVINO, WISH), "conv0").nonzero_bias


def test_an_excluded_site_says_why() -> None:
    wish = Wish(cpu="vnni", exclude={"conv0": (Reason.REVERTED_ACCURACY, "it costs 2 %")})
    found = decision(place(conv_relu_conv(), ORT, wish), "conv0")
    assert (found.reason, found.detail) == (Reason.REVERTED_ACCURACY, "it costs 2 %")


def test_a_kernel_does_not_absorb_what_stays_in_float() -> None:
    wish = Wish(cpu="vnni", exclude={"relu1": (Reason.EXCLUDED, "asked for")})
    before, after = (decision(place(conv_relu_conv(), ORT, w), "conv0") for w in (WISH, wish))
    assert before.fused == ("relu1",)
    assert after.fused == ()
    assert after.is_quantized


def test_a_portable_plan_has_seven_bit_weights() -> None:
    assert place(block(), ORT, Wish()).weight.accumulator == "s16"


def test_nodes_without_names_of_their_own_are_refused() -> None:
    model = conv_relu_conv()
    for node in model.graph:
        node.name = "same"
    with pytest.raises(PlanError, match=r"1 names for 3 nodes.*simplify"):
        place(model, ORT, WISH)


def test_a_sum_beside_a_conv_stays_in_float_where_its_other_operand_is_float_elsewhere() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) { a = Conv (x, w1)  t = Tanh(a)
        b = Conv (t, w2)  s = Add(b, a)  y = Exp(s) }""",
        w1=(16, 16, 1, 1), w2=(16, 16, 1, 1),
    )  # fmt: skip
    assert not decision(place(model, OPENVINO, WISH), "add3").is_quantized


def test_a_sum_of_two_convs_that_nothing_else_reads_takes_one_of_them_in_int8() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) { a = Conv (x, w1)  b = Conv (x, w2)
        s = Add(b, a)  y = Exp(s) }""",
        w1=(16, 16, 1, 1), w2=(16, 16, 1, 1),
    )  # fmt: skip
    assert decision(place(model, OPENVINO, WISH), "add2").inputs == ("b",)


def test_a_shortcut_that_only_moves_what_a_conv_reads_is_read_in_int8() -> None:
    """As in a ResNet for CIFAR: one pair above Slice and Pad serves the Conv and the sum."""
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 32, 4, 4] y) { r = Relu(x)
        a = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r, w1)
        c = Slice(r, from, to, axes, steps)  p = Pad(c, wider)  s = Add(a, p)  y = Exp(s) }""",
        w1=(32, 16, 3, 3), **{"from": np.array([0, 0])}, to=np.array([99, 99]),
        axes=np.array([2, 3]), steps=np.array([2, 2]), wider=np.array([0, 8, 0, 0, 0, 8, 0, 0]),
    )  # fmt: skip
    found = decision(place(model, OPENVINO, WISH), "add4")
    assert found.inputs == ("r",)
    assert set(found.through) == {"slice2", "pad3"}


def test_what_a_body_reads_through_a_reshape_stays_in_float() -> None:
    text = """<ir_version: 9, opset_import: ["": 18]>
        g (float[1, 16, 8, 8] x, bool c) => (float[1, 16, 64] y)
        <int64[3] s = {1, 16, 64}> {
          a = Conv(x, w)  r = Reshape(a, s)
          y = If (c) <then_branch = t () => (float[1, 16, 64] u) { u = Neg(r) },
                      else_branch = e () => (float[1, 16, 64] v) { v = Sin(r) }> }"""
    proto = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((16, 16, 1, 1)).astype(np.float32)
    proto.graph.initializer.append(ir.to_proto(ir.tensor(weight, name="w")))
    model = ir.from_proto(proto)
    for node in model.graph:
        node.name = node.op_type
    fed = {"x": np.ones((1, 16, 8, 8), np.float32), "c": np.array(True)}
    written, plan = quantized(model, ORT, data=fed)
    assert decision(plan, "Conv").reason is Reason.NO_RULE
    assert run(ir.to_proto(written), fed)["y"].shape == (1, 16, 64)  # ended the process
