"""Graphs that hypothesis draws: what exporters and people write, in any combination."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st

from gossamer.runtime import Feed
from zoo import odd
from zoo.growing import Draw, Growing

FUNCTIONS = "drawn.functions"
IMAGE = "image in"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A model that the ONNX checker and ONNX Runtime accept, and two samples."""

    model: ir.Model
    feeds: tuple[Feed, ...]


Step = Callable[[Growing], object]


def convolution(g: Growing) -> None:
    x = g.value(4)
    _, channels, height, width = g.shapes[x]
    groups = g.one_of([n for n in (1, 1, 1, 2, channels) if channels % n == 0])
    out = channels if groups == channels > 1 else g.one_of((8, 16, 24))
    kernel, stride = g.one_of((1, 3)), g.one_of((1, 1, 2))
    bias = g.one_of(("none", "some", "zero", "shared"))
    inputs = [x, g.weight(out, channels // groups, kernel, kernel,
                          fan_in=channels // groups * kernel * kernel)]  # fmt: skip
    if bias != "none":
        inputs.append(g.constant(np.zeros(out)) if bias == "zero" else g.weight(out, fan_in=100))
    pad = kernel // 2
    shape = (1, out, -(-height // stride), -(-width // stride))
    g.node("Conv", *inputs, shape=shape, group=groups, strides=[stride] * 2,
           kernel_shape=[kernel] * 2, pads=[pad] * 4)  # fmt: skip


def transposed_convolution(g: Growing) -> None:
    x = g.value(4, lambda s: s[2] <= 8 and s[3] <= 8)
    if x:
        _, channels, height, width = g.shapes[x]
        w = g.weight(channels, 16, 2, 2, fan_in=channels)
        g.node("ConvTranspose", x, w, shape=(1, 16, 2 * height, 2 * width), strides=[2, 2])


def batch_norm(g: Growing) -> None:
    x = g.value(4)
    n = g.shapes[x][1]
    numbers = [g.constant(g.random.uniform(0.5, 1.5, n)) for _ in range(4)]
    g.node("BatchNormalization", x, *numbers, shape=g.shapes[x])


def activation(g: Growing) -> None:
    x = g.value()
    op = g.one_of(("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Elu", "Identity"))
    g.node(op, x, shape=g.shapes[x])


def clip(g: Growing) -> None:
    """With both ends, with one of them, or with none: both are optional inputs."""
    x = g.value()
    ends = g.one_of(((0.0, 6.0), (None, 2.0), (-1.0, None), (None, None), (0.0, None)))
    inputs = ["" if end is None else g.constant(np.float32(end)) for end in ends]
    while inputs and not inputs[-1]:
        inputs.pop()
    g.node("Clip", x, *inputs, shape=g.shapes[x])


def silu(g: Growing) -> None:
    x = g.value()
    gate = g.node("Sigmoid", x, shape=g.shapes[x])
    pair = g.one_of(((x, gate), (gate, x)))
    g.node("Mul", *pair, shape=g.shapes[x])


def gelu(g: Growing) -> None:
    x = g.value()
    inner = g.node("Div", x, g.constant(math.sqrt(2)), shape=g.shapes[x])
    erf = g.node("Erf", inner, shape=g.shapes[x])
    outer = g.node("Add", erf, g.constant(1.0), shape=g.shapes[x])
    half = g.node("Mul", x, outer, shape=g.shapes[x])
    g.node("Mul", half, g.constant(0.5), shape=g.shapes[x])


def addition(g: Growing) -> None:
    """Of two activations, perhaps the same one."""
    x = g.value()
    g.node("Add", x, g.value(fits=lambda s: s == g.shapes[x]), shape=g.shapes[x])


def with_constant(g: Growing) -> None:
    """A scalar without axes, or one number for each channel, on either side."""
    x = g.value()
    shape = g.shapes[x]
    each = (shape[1], 1, 1) if len(shape) == 4 else shape[-1:]
    some = g.random.uniform(0.5, 1.5, () if g.one_of((True, False)) else each)
    operands = [x, g.constant(some)]
    op = g.one_of(("Add", "Mul", "Sub"))
    g.node(op, *(operands if g.one_of((True, False)) else operands[::-1]), shape=shape)


def gated(g: Growing) -> None:
    """Squeeze and excitation."""
    x = g.value(4)
    n = g.shapes[x][1]
    mean = g.node("GlobalAveragePool", x, shape=(1, n, 1, 1))
    less = g.node("Conv", mean, g.weight(8, n, 1, 1, fan_in=n), shape=(1, 8, 1, 1))
    more = g.node("Conv", less, g.weight(n, 8, 1, 1, fan_in=8), shape=(1, n, 1, 1))
    g.node("Mul", x, g.node("Sigmoid", more, shape=(1, n, 1, 1)), shape=g.shapes[x])


def concatenation(g: Growing) -> None:
    x = g.value(fits=lambda s: s[1] <= 48)
    if not x:
        return
    rest = g.shapes[x][2:]
    others = [g.value(fits=lambda s: s[2:] == rest and s[1] <= 48) for _ in range(2)]
    values = [x, *others][: g.one_of((2, 3))]
    n = sum(g.shapes[v][1] for v in values)
    g.node("Concat", *values, shape=(1, n, *rest), axis=g.one_of((1, 1 - len(rest) - 2)))


def pooling(g: Growing) -> None:
    x = g.value(4, lambda s: s[2] >= 4 and s[3] >= 4)
    if x:
        n, channels, height, width = g.shapes[x]
        op = g.one_of(("MaxPool", "AveragePool"))
        g.node(op, x, shape=(n, channels, height // 2, width // 2), kernel_shape=[2, 2],
               strides=[2, 2])  # fmt: skip


def resizing(g: Growing) -> None:
    """With the optional region left out."""
    x = g.value(4, lambda s: s[2] <= 8 and s[3] <= 8)
    if x:
        n, channels, height, width = g.shapes[x]
        scales = g.constant([1, 1, 2, 2])
        g.node("Resize", x, "", scales, shape=(n, channels, 2 * height, 2 * width),
               mode="nearest", nearest_mode="floor",
               coordinate_transformation_mode="asymmetric")  # fmt: skip


def cutting(g: Growing) -> None:
    """A part of the channels, and what is left of them, which may be nothing."""
    x = g.value(fits=lambda s: s[1] >= 4)
    if not x:
        return
    shape = g.shapes[x]
    at = g.one_of((shape[1] // 2, shape[1]))
    axis = g.constant([1], np.int64)
    parts = []
    for start, end in ((0, at), (at, shape[1])):
        ends = [g.constant([n], np.int64) for n in (start, end)]
        part = g.node("Slice", x, *ends, axis, shape=(1, end - start, *shape[2:]))
        parts.append(part)
    if at == shape[1]:
        del g.shapes[parts[1]]  # empty
    g.node("Concat", *parts[:: g.one_of((1, -1))], shape=shape, axis=1)


def turned(g: Growing) -> None:
    """There and back, or to rows."""
    x = g.value(4)
    n, channels, height, width = g.shapes[x]
    last = g.node("Transpose", x, shape=(n, height, width, channels), perm=[0, 2, 3, 1])
    if g.one_of((True, False)):
        g.node("Transpose", last, shape=g.shapes[x], perm=[0, 3, 1, 2])
        del g.shapes[last]
        return
    del g.shapes[last]
    size = g.constant([1, height * width, channels], np.int64)
    g.node("Reshape", last, size, shape=(n, height * width, channels))


def linear(g: Growing) -> None:
    """MatMul with a matrix that is stored, or turned around first, and perhaps a bias."""
    x = g.value(3)
    if not x:
        return
    *rest, inner = g.shapes[x]
    out = g.one_of((32, 64, 128))
    if g.one_of((True, False)):
        w = g.weight(inner, out, fan_in=inner)
    else:
        w = g.hidden("Transpose", g.weight(out, inner, fan_in=inner), perm=[1, 0])
    y = g.node("MatMul", x, w, shape=(*rest, out))
    if g.one_of((True, False)):
        operands = [y, g.weight(out, fan_in=100)]
        g.node("Add", *operands[:: g.one_of((1, -1))], shape=(*rest, out))


def gemm(g: Growing) -> None:
    x = g.value(3)
    if not x:
        return
    _, rows, inner = g.shapes[x]
    flat = g.hidden("Reshape", x, g.constant([rows, inner], np.int64))
    turned = g.one_of((0, 1))
    w = g.weight(*((48, inner) if turned else (inner, 48)), fan_in=inner)
    bias = [g.weight(48, fan_in=100)] if g.one_of((True, False)) else []
    alpha = g.one_of((1.0, 1.0, 0.5))
    y = g.hidden("Gemm", flat, w, *bias, transB=turned, alpha=alpha)
    g.node("Reshape", y, g.constant([1, rows, 48], np.int64), shape=(1, rows, 48))


def layer_norm(g: Growing) -> None:
    x = g.value(3)
    if x and g.opset >= 17:
        n = g.shapes[x][-1]
        g.node("LayerNormalization", x, g.constant(g.random.uniform(0.5, 1.5, n)),
               g.weight(n, fan_in=100), shape=g.shapes[x], axis=-1)  # fmt: skip


def attention(g: Growing) -> None:
    """Two heads over one value."""
    x = g.value(3, lambda s: s[1] <= 64)
    if not x:
        return
    _, rows, inner = g.shapes[x]
    heads, size = 2, 16
    split = g.constant([1, rows, heads, size], np.int64)
    made = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        y = g.hidden("MatMul", x, g.weight(inner, heads * size, fan_in=inner))
        made.append(g.hidden("Transpose", g.hidden("Reshape", y, split), perm=perm))
    q, k, v = made
    scores = g.hidden("Div", g.hidden("MatMul", q, k), g.constant(4.0))
    mixed = g.hidden("MatMul", g.hidden("Softmax", scores, axis=-1), v)
    back = g.hidden("Transpose", mixed, perm=[0, 2, 1, 3])
    size_back = g.constant([1, rows, heads * size], np.int64)
    g.node("Reshape", back, size_back, shape=(1, rows, heads * size))


def computed_shape(g: Growing) -> None:
    """Reshape to what Shape, Gather and Concat say."""
    x = g.value(4)
    n, channels, height, width = g.shapes[x]
    shape = g.hidden("Shape", x)
    first = g.hidden("Gather", shape, g.constant([0], np.int64))
    rest = g.constant([channels, height * width], np.int64)
    g.node("Reshape", x, g.hidden("Concat", first, rest, axis=0),
           shape=(n, channels, height * width))  # fmt: skip


def other_types(g: Growing) -> None:
    """Through double or half, or a comparison that chooses."""
    x = g.value()
    shape = g.shapes[x]
    if g.one_of((True, False)):
        to = g.one_of((ir.DataType.DOUBLE, ir.DataType.FLOAT16))
        g.node("Cast", g.hidden("Cast", x, to=to.value), shape=shape, to=ir.DataType.FLOAT.value)
    else:
        is_high = g.hidden("Greater", x, g.constant(0.1))
        g.node("Where", is_high, x, g.constant(0.0), shape=shape)


def branch(g: Growing) -> None:
    """An If whose branches read values and weights from outside."""
    x = g.value(4)
    shape = g.shapes[x]
    n = shape[1]
    w = g.weight(n, n, 1, 1, fan_in=n)
    largest = g.hidden("ReduceMax", x, keepdims=0)
    is_high = g.hidden("Greater", largest, g.constant(0.0))
    bodies = []
    for name, inputs, op in (("then", [x, w], "Conv"), ("else", [x], "Relu")):
        inner = ir.node(op, [g.values[v] for v in inputs])
        inner.outputs[0].name = g.fresh("b")
        inner.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        bodies.append(ir.Graph([], inner.outputs, nodes=[inner], name=name))
    g.node("If", is_high, shape=shape, then_branch=bodies[0], else_branch=bodies[1])


def function(g: Growing) -> None:
    """A function of the model's own."""
    x = g.value()
    g.has_function = True
    g.node("Lifted", x, shape=g.shapes[x], domain=FUNCTIONS)


STEPS: tuple[Step, ...] = (
    *(convolution, convolution, convolution, convolution, linear, linear, activation, addition),
    *(transposed_convolution, batch_norm, clip, silu, gelu, with_constant, gated, concatenation),
    *(pooling, resizing, cutting, turned, turned, gemm, layer_norm, attention, computed_shape),
    *(other_types, branch, function, *odd.STEPS),
)


@st.composite
def models(draw: Draw) -> Drawn:
    """Models of 3 to 16 steps over one image and perhaps more inputs."""
    g = Growing(draw)
    image = (1, g.one_of((3, 8, 16)), 8, 8)
    batch = "n" if g.is_open_batch else 1
    g.shapes[IMAGE] = image
    g.values[IMAGE] = ir.Value(
        name=IMAGE, shape=ir.Shape((batch, *image[1:])), type=ir.TensorType(ir.DataType.FLOAT)
    )
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=3, max_size=16)):
        step(g)
    last = [v for v in g.shapes if v != IMAGE][-1:] or [g.node("Relu", IMAGE, shape=image)]
    outputs = [*dict.fromkeys([*last, g.value(), *g.outputs])]
    fed = {
        IMAGE: [g.random.standard_normal(image).astype(np.float32) for _ in range(2)],
        **g.inputs,
    }
    feeds = tuple({name: samples[i] for name, samples in fed.items()} for i in range(2))
    return Drawn(model=_model(g, outputs), feeds=feeds)


def _model(g: Growing, outputs: Sequence[str]) -> ir.Model:
    weights = [g.values[name] for name in g.weights]
    for i, node in enumerate(g.nodes):
        names = {"numbered": f"n/{i}", "all alike": "node", "like values": node.outputs[0].name}
        node.name = names.get(g.naming, "")
    for name in outputs:
        if g.values[name].type is None:
            whole = g.values[name].producer().op_type in {"ArgMax", "MaxPool"}
            g.values[name].type = ir.TensorType(
                ir.DataType.INT64 if whole and name in g.outputs else ir.DataType.FLOAT
            )
    graph = ir.Graph(
        [g.values[v] for v in (IMAGE, *g.inputs)] + (weights if g.are_inputs else []),
        [g.values[name] for name in outputs],
        nodes=g.nodes,
        initializers=weights,
        opset_imports={"": g.opset, **({FUNCTIONS: 1} if g.has_function else {})},
        name="drawn",
    )
    return ir.Model(graph, ir_version=10, functions=[_lifted(g.opset)] if g.has_function else [])


def _lifted(opset: int) -> ir.Function:
    """A value and what Relu leaves of it, added."""
    x = ir.Value(name="a")
    relu = ir.node("Relu", [x])
    total = ir.node("Add", [x, relu.outputs[0]])
    relu.outputs[0].name, total.outputs[0].name = "r", "b"
    body = ir.Graph(
        [x], total.outputs, nodes=[relu, total], opset_imports={"": opset}, name="Lifted"
    )
    return ir.Function(FUNCTIONS, "Lifted", graph=body, attributes=[])
