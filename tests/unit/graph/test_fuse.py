from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from gossamer.graph.passes.channels_first import channels_first
from gossamer.graph.passes.fuse_transformer import fuse_transformer
from gossamer.graph.passes.plain_attention import plain_attention
from gossamer.graph.passes.simplify import simplify
from zoo.placed import agreement, graph

HEADS = np.array([1, 8, 4, 16])
FLAT = np.array([4, 8, 16])
FLAT_BACK = np.array([4, 16, 8])
BACK = np.array([1, 4, 16, 8])


def attention(keys: str, guard: str = "") -> ir.Model:
    """Four heads of width 16 over 8 tokens; `keys` makes kt from k [1, 8, 4, 16]."""
    text = f"""(float[1, 8, 64] x) => (float[1, 4, 8, 16] y) {{
        q0 = MatMul(x, wq)  q1 = Add(q0, bq)  q2 = Reshape(q1, heads)
        q3 = Transpose <perm = [0, 2, 1, 3]> (q2)  q = Mul(q3, half)
        k0 = MatMul(x, wk)  k = Reshape(k0, heads)  {keys}
        v0 = MatMul(x, wv)  v1 = Reshape(v0, heads)  v = Transpose <perm = [0, 2, 1, 3]> (v1)
        p = MatMul(q, kt)  pm = Add(p, mask)  s = Softmax <axis = -1> (pm)  {guard}
        y = MatMul({"z" if guard else "s"}, v) }}"""
    mask = np.zeros((1, 1, 8, 8), np.float32)
    mask[..., 5:] = -np.inf
    constants: dict[str, object] = {
        "wq": (64, 64), "bq": (64,), "wk": (64, 64), "wv": (64, 64), "heads": HEADS, "mask": mask,
        "half": np.array(0.5, np.float32), "flat": FLAT, "flat_back": FLAT_BACK, "back": BACK,
        "zero": np.array(0, np.float32),
    }  # fmt: skip
    used = {k: v for k, v in constants.items() if f"{k})" in text or f"({k}," in text
            or f", {k}" in text}  # fmt: skip
    return graph(text, **used)  # type: ignore[arg-type]


JOINED = "kt = Transpose <perm = [0, 2, 3, 1]> (k)"
THREE = (
    "k1 = Transpose <perm = [0, 2, 1, 3]> (k)  k2 = Reshape(k1, flat)"
    "  k3 = Transpose <perm = [0, 2, 1]> (k2)  kt = Reshape(k3, back)"
)
GUARD = "n = IsNaN(s)  z = Where(n, zero, s)"


@pytest.mark.parametrize("keys", [JOINED, THREE], ids=["joined", "three nodes"])
def test_keys_are_transposed_once_and_the_scale_goes_into_the_projection(keys: str) -> None:
    model = attention(keys)
    plain = plain_attention(ir.from_proto(ir.to_proto(model)))
    types = [n.op_type for n in plain.graph]
    assert "Mul" not in types
    product = next(n for n in plain.graph if n.name == next(
        m.name for m in model.graph if m.outputs[0].name == "p"))  # fmt: skip
    turned = product.inputs[1].producer()  # type: ignore[union-attr]
    assert turned is not None
    assert list(turned.attributes.get_ints("perm")) == [0, 1, 3, 2]
    assert agreement(model, plain) > 100


def test_values_that_are_scaled_get_new_names() -> None:
    plain = plain_attention(attention(JOINED))
    names = {v.name for n in plain.graph for v in n.outputs}
    assert {"q0_scaled", "q1_scaled"} <= names
    assert not {"q0", "q1"} & names


def test_the_guard_against_nan_goes_and_the_mask_becomes_finite() -> None:
    model = attention(JOINED, GUARD)
    plain = plain_attention(ir.from_proto(ir.to_proto(model)))
    assert not {"IsNaN", "Where"} & {n.op_type for n in plain.graph}
    assert agreement(model, plain) > 100


def test_a_guard_behind_a_mask_that_is_fed_stays() -> None:
    model = graph(
        """(float[1, 4, 8] x, float[1, 4, 4] mask) => (float[1, 4, 8] y) {
        t = Transpose <perm = [0, 2, 1]> (x)  p = MatMul(x, t)  pm = Add(p, mask)
        s = Softmax <axis = -1> (pm)  n = IsNaN(s)  z = Where(n, zero, s)  y = MatMul(z, x) }""",
        zero=np.array(0, np.float32),
    )  # fmt: skip
    assert "Where" in {n.op_type for n in plain_attention(model).graph}


def test_an_add_in_front_of_a_layer_norm_becomes_a_sum() -> None:
    model = graph(
        """(float[1, 8, 64] x) => (float[1, 8, 64] y) { t = Tanh(x)  a = Add(x, t)
        y = LayerNormalization <axis = -1> (a, g) }""",
        g=np.ones(64, np.float32),
    )  # fmt: skip
    fused = fuse_transformer(ir.from_proto(ir.to_proto(model)))
    assert [n.op_type for n in fused.graph] == ["Tanh", "Sum", "LayerNormalization"]
    assert agreement(model, fused) > 100


def test_erf_gelu_becomes_one_operator() -> None:
    model = graph(
        """(float[1, 8, 64] x) => (float[1, 8, 64] y) { p = MatMul(x, w)  d = Div(p, root)
        e = Erf(d)  o = Add(e, one)  m = Mul(p, o)  y = Mul(m, half) }""",
        w=(64, 64), root=np.array(2**0.5, np.float32), one=np.array(1, np.float32),
        half=np.array(0.5, np.float32),
    )  # fmt: skip
    fused = fuse_transformer(ir.from_proto(ir.to_proto(model)))
    assert [n.op_type for n in fused.graph] == ["MatMul", "Gelu"]
    assert agreement(model, fused) > 80


def convnext(inner: str = "", end: str = "z = Relu(s)") -> ir.Model:
    """Two blocks that normalise channels-last and add channels-first; `inner` makes q# from p#."""

    def block(i: int, source: str) -> str:
        between = (inner or "q# = Mul(p#, h)").replace("#", str(i))
        return f"""c{i} = Conv <group = 8, pads = [1, 1, 1, 1]> ({source}, k)
        t{i} = Transpose <perm = [0, 2, 3, 1]> (c{i})
        n{i} = LayerNormalization <axis = -1, epsilon = 0.01> (t{i}, g, b)  m{i} = MatMul(n{i}, w)
        p{i} = Add(e, m{i})  {between}
        f{i} = Transpose <perm = [0, 3, 1, 2]> (q{i})
        """

    text = f"""(float[1, 8, 6, 6] x) => (float[1, 8, 6, 6] z) {{
        {block(1, "x")} r = Add(x, f1)  {block(2, "r")} s = Add(f2, r)  {end} }}"""
    half = {"h": np.array(0.5, np.float32)} if "h)" in text else {}
    return graph(text, k=(8, 1, 3, 3), g=(8,), b=(8,), w=(8, 8), e=(8,), **half)


def turns(model: ir.Model) -> int:
    return sum(n.op_type == "Transpose" for n in model.graph)


def test_blocks_between_convolutions_work_channels_first() -> None:
    model = convnext()
    first = channels_first(ir.from_proto(ir.to_proto(model)))
    types = [n.op_type for n in first.graph]
    assert turns(first) == 0
    assert not {"LayerNormalization", "MatMul"} & set(types)
    assert types.count("Conv") == 4
    assert all(len(n.inputs) == 3 for n in first.graph if n.name and "pointwise" in n.name)
    assert {"n1", "p1", "q1", "r", "s"} <= {v.name for n in first.graph for v in n.outputs}
    assert agreement(model, first) > 100


@pytest.mark.parametrize(
    ("inner", "left"),
    [
        ("a# = Sigmoid(p#) q# = Mul(a#, p#)", 0),
        ("a# = Mul(p#, g) q# = Clip(a#, , h)", 0),  # a number for each channel, and one left out
        ("a# = Softmax <axis = 2> (p#) q# = Mul(a#, p#)", 4),  # Softmax needs its axis
    ],
)
def test_what_lies_inside_a_block_works_channels_first_where_it_can(inner: str, left: int) -> None:
    model = convnext(inner)
    first = channels_first(ir.from_proto(ir.to_proto(model)))
    assert turns(first) == left
    assert agreement(model, first) > 100


@pytest.mark.parametrize("out", ["n1", "m1", "p1", "q1", "f1"])
def test_an_output_of_the_graph_keeps_its_axes(out: str) -> None:
    model = convnext()
    model.graph.outputs[0] = next(v for n in model.graph for v in n.outputs if v.name == out)
    first = channels_first(ir.from_proto(ir.to_proto(model)))
    assert agreement(model, first) > 100


def test_layer_norm_over_more_than_channels_stays() -> None:
    model = graph(
        """(float[1, 8, 6, 6] x) => (float[1, 8, 6, 6] y) {
        t = Transpose <perm = [0, 2, 3, 1]> (x)  n = LayerNormalization <axis = 2> (t, g)
        y = Transpose <perm = [0, 3, 1, 2]> (n) }""",
        g=(6, 8),
    )
    first = channels_first(ir.from_proto(ir.to_proto(model)))
    assert "LayerNormalization" in {n.op_type for n in first.graph}
    assert agreement(model, first) > 100


def test_an_attention_without_a_kernel_stays_as_it_is() -> None:
    """An open batch, cut to heads as if it were 1: an attention, but not a MultiHeadAttention."""
    model = graph(
        """(float[N, 8, 32] x) => (float[1, 8, 32] y) {
        a = MatMul(x, wq)  b = Reshape(a, split)  q = Transpose <perm = [0, 2, 1, 3]> (b)
        c = MatMul(x, wk)  d = Reshape(c, split)  k = Transpose <perm = [0, 2, 3, 1]> (d)
        e = MatMul(x, wv)  f = Reshape(e, split)  v = Transpose <perm = [0, 2, 1, 3]> (f)
        s = MatMul(q, k)  r = Div(s, four)  p = Softmax <axis = -1> (r)  m = MatMul(p, v)
        t = Transpose <perm = [0, 2, 1, 3]> (m)  y = Reshape(t, back) }""",
        wq=(32, 32), wk=(32, 32), wv=(32, 32), split=np.array([1, 8, 2, 16]),
        four=np.float32(4), back=np.array([1, 8, 32]),
    )  # fmt: skip
    fused = fuse_transformer(simplify(ir.from_proto(ir.to_proto(model))))
    assert "Softmax" in {node.op_type for node in fused.graph}
    assert {node.domain for node in fused.graph} <= {"", "com.microsoft"}
    assert agreement(model, fused) > 80
