from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from gossamer.graph.passes.simplify import simplify
from zoo.placed import agreement, conv_relu_conv, feed, graph, run


def _copy(model: ir.Model) -> ir.Model:
    return ir.from_proto(ir.to_proto(model))


def test_a_batch_norm_goes_into_the_conv_in_front_of_it() -> None:
    model = graph(
        """(float[1, 4, 8, 8] x) => (float[1, 4, 6, 6] y) { a = Conv(x, w, b)
        y = BatchNormalization(a, s, o, m, v) }""",
        w=(4, 4, 3, 3), b=(4,), s=(4,), o=(4,), m=(4,), v=np.full(4, 2, np.float32),
    )  # fmt: skip
    simple = simplify(_copy(model))
    assert [n.op_type for n in simple.graph] == ["Conv"]
    assert agreement(model, simple) > 100


def test_a_weight_transposed_at_run_time_becomes_a_constant() -> None:
    model = graph(
        "(float[1, 8] x) => (float[1, 8] y) { t = Transpose(w)  i = Identity(x)"
        "  y = MatMul(i, t) }",
        w=(8, 8),
    )  # fmt: skip
    simple = simplify(_copy(model))
    assert [n.op_type for n in simple.graph] == ["MatMul"]
    assert agreement(model, simple) > 100


def test_every_node_gets_a_name_of_its_own() -> None:
    model = conv_relu_conv()
    for node in model.graph:
        node.name = "same"
    assert len({n.name for n in simplify(model).graph}) == 3


@pytest.mark.parametrize("bias", ["", "a = Add(p, b)"], ids=["without bias", "with bias"])
@pytest.mark.parametrize("size", [(6,), (1, 1, 6), ()], ids=["row", "rank 3", "one number"])
def test_a_scale_behind_a_linear_layer_goes_into_its_weight(
    bias: str, size: tuple[int, ...]
) -> None:
    model = graph(
        f"""(float[1, 3, 8] x) => (float[1, 3, 6] y) {{ p = MatMul(x, w)  {bias}
        m = Mul(c, {"a" if bias else "p"})  y = Relu(m) }}""",
        w=(8, 6), c=np.array(np.linspace(0.5, 2, int(np.prod(size))), np.float32).reshape(size),
        **({"b": (6,)} if bias else {}),
    )  # fmt: skip
    simple = simplify(_copy(model))
    assert "Mul" not in [n.op_type for n in simple.graph]
    assert "m" in [n.outputs[0].name for n in simple.graph]
    assert agreement(model, simple) > 100


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("p = MatMul(x, w)  m = Mul(p, c)  y = Add(m, p)", (6,)),
        ("p = Relu(x)  m = Mul(p, c)  y = MatMul(m, w)", (8,)),
        ("p = MatMul(x, w)  m = Mul(p, c)  y = Relu(m)", (3, 1)),
    ],
    ids=["read twice", "not linear", "another axis"],
)
def test_other_scales_stay(text: str, shape: tuple[int, ...]) -> None:
    model = graph(
        f"(float[1, 3, 8] x) => (float[1, 3, 6] y) {{ {text} }}",
        w=(8, 6), c=shape,
    )  # fmt: skip
    simple = simplify(_copy(model))
    assert "Mul" in [n.op_type for n in simple.graph]
    assert agreement(model, simple) > 100


def test_a_scale_that_adds_an_axis_stays() -> None:
    model = graph(
        "(float[3, 8] x) => (float[1, 3, 6] y) { p = MatMul(x, w)  m = Mul(p, c)  y = Relu(m) }",
        w=(8, 6), c=(1, 1, 6),
    )  # fmt: skip
    assert "Mul" in [n.op_type for n in simplify(model).graph]


@pytest.mark.parametrize(("keep", "shape"), [(1, "1, 4, 1, 1"), (0, "1, 4")])
def test_the_mean_of_an_image_becomes_a_pool(keep: int, shape: str) -> None:
    model = graph(
        f"""(float[1, 4, 8, 8] x) => (float[{shape}] y) {{
        y = ReduceMean <keepdims = {keep}> (x, axes) }}""",
        axes=np.array([-1, 2]),
    )
    simple = simplify(_copy(model))
    assert simple.graph.node(0).op_type == "GlobalAveragePool"
    assert agreement(model, simple) > 100


def test_the_mean_over_tokens_stays() -> None:
    model = graph(
        "(float[1, 4, 8, 8] x) => (float[1, 1, 8, 8] y) { y = ReduceMean(x, axes) }",
        axes=np.array([1]),
    )
    assert simplify(model).graph.node(0).op_type == "ReduceMean"


def test_outputs_that_turn_out_equal_keep_their_names() -> None:
    """One is another turned around twice, one the same node again, one the input itself."""
    model = graph(
        """(float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] b, float[1, 4, 8, 8] a,
        float[1, 4, 8, 8] c, float[1, 4, 8, 8] d) {
        a = Relu(x)  t = Transpose <perm = [0, 2, 3, 1]> (a)
        b = Transpose <perm = [0, 3, 1, 2]> (t)  c = Relu(x)  d = Identity(x) }"""
    )
    x = {"x": np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype(np.float32)}
    wanted = run(ir.to_proto(model), x)

    found = run(ir.to_proto(simplify(_copy(model))), x)

    assert list(found) == ["b", "a", "c", "d"]
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def rows(back: tuple[int, ...], gemm: str = "Gemm (m, w, b)") -> ir.Model:
    """A Gemm whose rows are those of two axes."""
    constants = {"b": (32,)} if "b)" in gemm else {}
    return graph(
        f"""(float[2, 6, 4, 8] x) => (float[{", ".join(map(str, back))}] y) {{
        m = Reshape(x, flat)  p = {gemm}  y = Reshape(p, back) }}""",
        flat=np.array([-1, 32]), back=np.array(back), w=(32, 32), **constants,
    )  # fmt: skip


@pytest.mark.parametrize(
    "gemm",
    [
        "Gemm (m, w, b)",
        "Gemm (m, w)",
        "Gemm <transB = 1> (m, w, b)",
        "Gemm <alpha = 1.0> (m, w, b)",
    ],
)
def test_a_gemm_of_rows_is_a_matmul_of_the_value(gemm: str) -> None:
    before = rows((2, 6, 32), gemm)
    data = feed(before)
    wanted = run(ir.to_proto(before), data)["y"]

    after = simplify(rows((2, 6, 32), gemm))

    assert [n.op_type for n in after.graph][:2] == ["Reshape", "MatMul"]
    assert "Gemm" not in {n.op_type for n in after.graph}
    np.testing.assert_allclose(run(ir.to_proto(after), data)["y"], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("back", "gemm"),
    [
        ((2, 3, 64), "Gemm (m, w, b)"),  # other rows than x has
        ((2, 6, 32), "Gemm <alpha = 2.0> (m, w, b)"),
        ((4, 3, 32), "Gemm (m, w, b)"),
    ],
)
def test_another_gemm_stays(back: tuple[int, ...], gemm: str) -> None:
    before = rows(back, gemm)
    data = feed(before)
    wanted = run(ir.to_proto(before), data)["y"]

    after = simplify(rows(back, gemm))

    assert "Gemm" in {n.op_type for n in after.graph}
    np.testing.assert_allclose(run(ir.to_proto(after), data)["y"], wanted, rtol=1e-5, atol=1e-6)


def test_what_only_the_branches_of_an_unread_if_read_goes_with_it() -> None:
    text = """<ir_version: 9, opset_import: ["": 18]>
        g (float[1, 8] x, bool c) => (float[1, 8] y) {
          y = Relu(x)
          a = Sin(x)
          b = Cos(x)
          i = If (c) <then_branch = t () => (float[1, 8] u) { u = Neg(a) },
                      else_branch = e () => (float[1, 8] v) { v = Add(b, y) }> }"""
    simple = simplify(ir.from_proto(onnx.parser.parse_model(text)))
    assert [n.op_type for n in simple.graph] == ["Relu"]
    assert not simple.graph.outputs[0].uses()


def test_an_output_that_is_an_input_stays_it() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 9, opset_import: ["": 18]>
            g (float[1, 8] x) => (float[1, 8] x, float[1, 8] y) { a = Identity(x)  y = Relu(a) }"""
        )
    )
    simple = simplify(model)
    assert [v.name for v in simple.graph.inputs] == ["x"]
    assert [n.op_type for n in simple.graph] == ["Relu"]
    x = feed(model)["x"]
    assert np.array_equal(run(ir.to_proto(simple), {"x": x})["x"], x)


def test_a_body_that_returns_one_value_twice_still_does() -> None:
    text = """<ir_version: 9, opset_import: ["": 18]>
        g (float[5, 4] x) => (float[4] last, float[5, 4] all) <float[4] zero = {0, 0, 0, 0}> {
          last, all = Scan <num_scan_inputs = 1, body = b (float[4] state, float[4] row)
            => (float[4] sum, float[4] copy) { sum = Add(state, row)  copy = Identity(sum) }>
            (zero, x) }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    x = feed(model)["x"]
    got = run(ir.to_proto(simplify(model)), {"x": x})
    assert np.allclose(got["all"], np.cumsum(x, axis=0), atol=1e-5)
    assert np.allclose(got["last"], x.sum(axis=0), atol=1e-5)


def test_a_branch_that_returns_a_value_from_outside_still_does() -> None:
    text = """<ir_version: 9, opset_import: ["": 18]>
        g (float[1, 8] x, bool c) => (float[1, 8] y) {
          a = Sin(x)
          y = If (c) <then_branch = t () => (float[1, 8] u) { u = Identity(a) },
                      else_branch = e () => (float[1, 8] v) { v = Neg(a) }> }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    x = feed(model)["x"]
    got = run(ir.to_proto(simplify(model)), {"x": x, "c": np.array(True)})
    assert np.allclose(got["y"], np.sin(x), atol=1e-5)


def test_a_weight_that_is_an_output_stays_it_where_a_batch_norm_changes_it() -> None:
    w = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32)
    model = graph(
        """(float[1, 4, 8, 8] x) => (float[1, 4, 6, 6] y) { a = Conv(x, w)
        y = BatchNormalization(a, s, o, m, v) }""",
        w=w, s=(4,), o=(4,), m=(4,), v=np.full(4, 2, np.float32),
    )  # fmt: skip
    model.graph.outputs.append(model.graph.initializers["w"])
    before = run(ir.to_proto(model), feed(model))
    after = run(ir.to_proto(simplify(model)), feed(model))
    assert [n.op_type for n in model.graph] == ["Conv"]
    assert np.array_equal(after["w"], w)
    assert np.allclose(after["y"], before["y"], atol=1e-5)
