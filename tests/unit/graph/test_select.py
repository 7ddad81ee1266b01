"""Nodes that a user names, in graphs where what is meant is one node or many."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from gossamer.errors import RecipeError
from gossamer.graph.passes.simplify import simplify
from gossamer.graph.select import select
from gossamer.graph.steps.quantize_dynamic import QuantizeDynamic
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.plan import Plan, Reason
from gossamer.step import GraphContext
from zoo.placed import ORT, block, conv_relu_conv, feed, given, graph, observed

SCALARS = {
    name: np.float32(x)
    for name, x in {"two": 2, "root": 1.414, "one": 1, "half": 0.5, "three": 3, "c": 0.04}.items()
}
LAYERNORM = """m = ReduceMean <keepdims = 1> ({x}, last)  d = Sub({x}, m)  p = Pow(d, two)
    v = ReduceMean <keepdims = 1> (p, last)  e = Add(v, half)  s = Sqrt(e)  n = Div(d, s)
    g = Mul(n, gamma)  {y} = Add(g, beta)"""
ERF = "a = Div({x}, root)  f = Erf(a)  o = Add(f, one)  h = Mul({x}, o)  {y} = Mul(h, half)"
ERF_HALF_FIRST = (
    "a = Div({x}, root)  f = Erf(a)  o = Add(f, one)  h = Mul({x}, half)  {y} = Mul(h, o)"
)
TANH = """c3 = Pow({x}, three)  c4 = Mul(c3, c)  i = Add({x}, c4)  j = Mul(i, root)  t = Tanh(j)
    o = Add(t, one)  h = Mul({x}, half)  {y} = Mul(h, o)"""
SOFTMAX = """top = ReduceMax <keepdims = 1> ({x}, last)  l = Sub({x}, top)  q = Exp(l)
    r = ReduceSum <keepdims = 1> (q, last)  {y} = Div(q, r)"""


def between_products(text: str) -> ir.Model:
    """`text`, which makes y of x, between two products with a bias each."""
    body = text.format(x="x1", y="y1")
    constants = {k: v for k, v in SCALARS.items() if re.search(rf"\b{k}\b", body)}
    constants |= {"last": np.array([-1])} if "last" in body else {}
    constants |= {k: np.ones(64, np.float32) for k in ("gamma", "beta") if k in body}
    return graph(
        f"""(float[1, 8, 64] x) => (float[1, 8, 64] y) {{ p0 = MatMul(x, w0)  x1 = Add(p0, b0)
        {body}  p1 = MatMul(y1, w1)  y = Add(p1, b1) }}""",
        w0=(64, 64), b0=(64,), w1=(64, 64), b1=(64,), **constants,
    )  # fmt: skip


RMSNORM = """q = Mul({x}, {x})  v = ReduceMean <keepdims = 1> (q, last)  e = Add(v, half)
    s = Sqrt(e)  n = Div({x}, s)  {y} = Mul(n, gamma)"""


@pytest.mark.parametrize(
    ("meaning", "text"),
    [
        ("layernorm", RMSNORM),
        ("layernorm", LAYERNORM),
        ("layernorm", "{y} = LayerNormalization({x}, gamma, beta)"),
        ("gelu", ERF),
        ("gelu", ERF_HALF_FIRST),
        ("gelu", TANH),
        ("gelu", "{y} = Gelu({x})"),
        ("softmax", SOFTMAX),
        ("softmax", "{y} = Softmax({x})"),
    ],
)
def test_all_nodes_of_what_is_meant_are_found_and_no_others(meaning: str, text: str) -> None:
    model = between_products(text)
    inner = [node.name for node in model.graph][2:-2]
    assert select(model.graph, [meaning]) == {meaning: tuple(inner)}


def test_residuals_are_sums_of_a_path_and_one_around_it() -> None:
    model = graph(
        """(float[1, 8, 64] x, float[1, 1, 64] mask) => (float[1, 8, 64] y) {
        n = LayerNormalization(x, gamma, beta)  p = MatMul(n, w)  b = Add(p, bias)
        masked = Add(b, mask)  r = Add(x, masked)  t = Mul(r, half)  gate = Add(r, t)
        u = MatMul(r, w2)  v = MatMul(r, w3)  s = Add(u, v)  z = Softmax(s)  y = Sum(r, z) }""",
        gamma=(64,), beta=(64,), w=(64, 64), bias=(64,), w2=(64, 64), w3=(64, 64),
        half=np.float32(0.5),
    )  # fmt: skip
    found = select(model.graph, ["residual"])["residual"]
    outputs = {n.outputs[0].name for n in model.graph if n.name in found}
    assert outputs == {"r", "y"}


def test_names_come_before_operators_and_patterns_are_searched() -> None:
    model = conv_relu_conv()
    names = [n.name for n in model.graph]
    assert names == ["conv0", "relu1", "conv2"]
    assert select(model.graph, ["Conv", "relu1", "re:^conv[2-9]"]) == {
        "Conv": ("conv0", "conv2"),
        "relu1": ("relu1",),
        "re:^conv[2-9]": ("conv2",),
    }
    next(iter(model.graph)).name = "Relu"
    assert select(model.graph, ["Relu"]) == {"Relu": ("Relu",)}


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ("conv1", "Did you mean conv2 or conv0"),
        ("Convv", "Did you mean Conv"),
        ("softmx", "Did you mean softmax"),
        ("gelu", "The operators are Conv, Relu"),
        ("re:encoder", "matches no node"),
        ("re:(", "Python says: missing \\)"),
    ],
)
def test_what_matches_nothing_is_told_with_what_is_near(selector: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        select(conv_relu_conv().graph, ["Conv", selector])


@pytest.mark.parametrize("step", [QuantizeStatic, QuantizeDynamic])
def test_steps_leave_in_float_what_the_recipe_excludes(
    step: type[QuantizeStatic] | type[QuantizeDynamic],
) -> None:
    plans: list[Plan] = []
    context = GraphContext(
        target=ORT,
        cpu="vnni",
        calibration=given(lambda values: observed(block(), tuple(values), feed(block()))),
        record=plans.append,
    )
    written = step(exclude=("re:^matmul[1-4]$",)).apply(block(), context)
    told = {d.site: (d.reason, d.detail) for d in plans[0].decisions if d.op == "MatMul"}
    assert told["matmul1"] == (Reason.EXCLUDED, "the recipe excludes re:^matmul[1-4]$")
    assert told["matmul1"] == told["matmul4"]
    assert told["matmul6"][0] is Reason.QUANTIZED
    assert [n.name for n in written.graph if n.op_type == "MatMul"][:2] == ["matmul1", "matmul4"]
    with pytest.raises(RecipeError, match="'re:decoder', which matches no node"):
        step(exclude=("re:decoder",)).apply(block(), context)


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("speech_commands/kwt1.onnx", {"layernorm": 24 * 8, "gelu": 12 * 8, "softmax": 12}),
        ("stories260k/stories260k.onnx", {"layernorm": 11 * 6, "softmax": 5, "residual": 10}),
        ("cifar10/resnet20.onnx", {"residual": 9}),
    ],
)
def test_real_models_have_what_their_papers_say(
    path: str, counts: dict[str, int], real: Path
) -> None:
    model = simplify(ir.load(real / path))
    found = select(model.graph, list(counts))
    assert {meaning: len(names) for meaning, names in found.items()} == counts
