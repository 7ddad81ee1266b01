"""Steps for `generated` that few models take: bodies, sequences, odd types, ranks and outputs."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import onnx_ir as ir

from zoo.growing import Growing, Shape

FLOAT = ir.DataType.FLOAT


def conv_1d(g: Growing) -> None:
    x = g.value(3, lambda s: s[2] >= 3)
    if x:
        _, channels, length = g.shapes[x]
        out, stride = g.one_of((16, 24)), g.one_of((1, 2))
        w = g.weight(out, channels, 3, fan_in=3 * channels)
        shape = (1, out, (length - 1) // stride + 1)
        g.node("Conv", x, w, g.weight(out, fan_in=100), shape=shape, pads=[1, 1], strides=[stride])


def grouped_transposed_convolution(g: Growing) -> None:
    """Some with a bias, and sizes that strides leave open."""
    x = g.value(4, lambda s: s[1] % 2 == 0 and s[2] <= 8 and s[3] <= 8)
    if x:
        _, channels, height, width = g.shapes[x]
        inputs = [x, g.weight(channels, 8, 3, 3, fan_in=channels * 2)]
        if g.one_of((True, False)):
            inputs.append(g.weight(16, fan_in=100))
        shape = (1, 16, 2 * height, 2 * width)
        g.node("ConvTranspose", *inputs, shape=shape, group=2, strides=[2, 2], pads=[1] * 4,
               output_padding=[1, 1])  # fmt: skip


def one_weight_for_two(g: Growing) -> None:
    """A matrix that a Conv and a Gemm read, the Conv by a view."""
    x = g.value(4, lambda s: s[1] >= 8)
    if not x:
        return
    _, n, height, width = g.shapes[x]
    w = g.weight(16, n, fan_in=n)
    kernel = g.hidden("Reshape", w, g.constant([16, n, 1, 1], np.int64))
    g.node("Conv", x, kernel, shape=(1, 16, height, width))
    mean = g.hidden("Flatten", g.hidden("GlobalAveragePool", x))
    y = g.hidden("Gemm", mean, w, transB=1)
    g.node("Reshape", y, g.constant([1, 16, 1], np.int64), shape=(1, 16, 1))


def einsum(g: Growing) -> None:
    x = g.value(3)
    if x:
        _, rows, inner = g.shapes[x]
        w = g.weight(inner, 32, fan_in=inner)
        g.node("Einsum", x, w, shape=(1, rows, 32), equation="bij,jk->bik")


def dropout(g: Growing) -> None:
    """As in training, switched off, with a mask that nobody reads."""
    x = g.value()
    inputs = [x, g.constant(np.float32(0.5)), g.constant(np.array(False), np.bool_)]
    _, mask = g.several("Dropout", *inputs, shapes=[g.shapes[x]] * 2)
    del g.shapes[mask]


def trained_batch_norm(g: Growing) -> None:
    x = g.value(4)
    n = g.shapes[x][1]
    numbers = [g.constant(g.random.uniform(0.5, 1.5, n)) for _ in range(4)]
    g.node("BatchNormalization", x, *numbers, shape=g.shapes[x], momentum=0.9, epsilon=1e-3,
           **({"training_mode": 0} if g.opset >= 14 else {}))  # fmt: skip


def instance_norm(g: Growing) -> None:
    x = g.value(4, lambda s: s[2] > 1)
    if x:
        n = g.shapes[x][1]
        g.node("InstanceNormalization", x, g.constant(np.ones(n)), g.weight(n, fan_in=100),
               shape=g.shapes[x])  # fmt: skip


def pool_with_positions(g: Growing) -> None:
    x = g.value(4, lambda s: s[2] >= 4 and s[3] >= 4)
    if x:
        n, channels, height, width = g.shapes[x]
        shape = (n, channels, height // 2, width // 2)
        _, positions = g.several("MaxPool", x, shapes=[shape] * 2, kernel_shape=[2, 2],
                                 strides=[2, 2])  # fmt: skip
        del g.shapes[positions]
        if g.one_of((True, False)):
            g.outputs.append(positions)


def pieces(g: Growing) -> None:
    """Split, unevenly, and together again, perhaps by a sequence."""
    x = g.value(fits=lambda s: s[1] >= 4)
    if not x:
        return
    shape = g.shapes[x]
    sizes = [1, shape[1] - 1]
    if g.one_of((True, False)):
        shapes = [(shape[0], n, *shape[2:]) for n in sizes]
        parts = g.several("Split", x, g.constant(sizes, np.int64), shapes=shapes, axis=1)
        g.node("Concat", *parts[:: g.one_of((1, -1))], shape=shape, axis=1)
        return
    sequence = g.hidden("SplitToSequence", x, g.constant(sizes, np.int64), axis=1)
    g.values[sequence].type = ir.SequenceType(ir.TensorType(FLOAT))
    g.node("ConcatFromSequence", sequence, shape=shape, axis=1)


def scalar(g: Growing) -> None:
    """A value without axes, computed or fed, that scales."""
    x = g.value()
    if g.one_of((True, False)):
        size = g.input(lambda: np.asarray(g.random.uniform(0.5, 1.5), np.float32))
    else:
        size = g.hidden("Sigmoid", g.hidden("ReduceMean", x, keepdims=0))
    g.node("Mul", *(x, size)[:: g.one_of((1, -1))], shape=g.shapes[x])


def fed(g: Growing) -> None:
    """Another input, of whatever type, that is added."""
    x = g.value()
    shape = g.shapes[x]
    dtype = g.one_of((np.float32, np.float16, np.float64, np.int8, np.uint8, np.int32, np.bool_,
                      ml_dtypes.bfloat16))  # fmt: skip
    y = g.input(lambda: (g.random.uniform(0, 2, shape)).astype(dtype))
    cast = y if dtype is np.float32 else g.hidden("Cast", y, to=FLOAT.value)
    g.node("Add", x, cast, shape=shape)


def embedded(g: Growing) -> None:
    """Rows of a table, by ids that are fed."""
    width = g.one_of((16, 64))
    ids = g.input(lambda: g.random.integers(0, 20, (1, 8)))
    g.node("Gather", g.weight(20, width, fan_in=1), ids, shape=(1, 8, width))


def recurrent(g: Growing) -> None:
    """A GRU of which only one output is read, most inputs left out."""
    x = g.value(3, lambda s: s[1] <= 16)
    if not x:
        return
    _, rows, inner = g.shapes[x]
    turned = g.hidden("Transpose", x, perm=[1, 0, 2])
    w, r = g.weight(1, 48, inner, fan_in=inner), g.weight(1, 48, 16, fan_in=16)
    y = g.hidden("GRU", turned, w, r, hidden_size=16)
    row = g.hidden("Squeeze", y, g.constant([1], np.int64))
    g.node("Transpose", row, shape=(1, rows, 16), perm=[1, 0, 2])


def loop(g: Growing) -> None:
    """A Loop whose body reads a weight and a value from outside."""
    x = g.value(3)
    if not x:
        return
    shape = g.shapes[x]
    w = g.weight(shape[2], shape[2], fan_in=shape[2])
    turn, go_on, state = (ir.Value(name=g.fresh("l")) for _ in range(3))
    turn.type, go_on.type, state.type = (
        ir.TensorType(t) for t in (ir.DataType.INT64, ir.DataType.BOOL, FLOAT)
    )
    turn.shape = go_on.shape = ir.Shape(())
    product = ir.node("MatMul", [state, g.values[w]])
    total = ir.node("Add", [product.outputs[0], g.values[x]])
    still = ir.node("Identity", [go_on])
    body = _body(g, "body", [turn, go_on, state], [product, total, still])
    body.outputs.extend((still.outputs[0], total.outputs[0]))
    still.outputs[0].type = ir.TensorType(ir.DataType.BOOL)
    times = g.constant(np.array(2), np.int64)
    g.node("Loop", times, "", x, shape=shape, body=body)


def scan(g: Growing) -> None:
    """A running sum over the rows."""
    x = g.value(3)
    if not x:
        return
    shape = g.shapes[x]
    state, row = (ir.Value(name=g.fresh("s"), type=ir.TensorType(FLOAT)) for _ in range(2))
    state.shape = row.shape = ir.Shape((1, shape[2]))
    half = ir.node("Mul", [state, g.values[g.constant(np.float32(0.5))]])
    total = ir.node("Add", [half.outputs[0], row])
    copy = ir.node("Identity", [total.outputs[0]])
    body = _body(g, "step", [state, row], [half, total, copy])
    body.outputs.extend((total.outputs[0], copy.outputs[0]))
    for value in body.outputs:
        value.shape = ir.Shape((1, shape[2]))
    start = g.constant(np.zeros((1, shape[2])))
    last, _ = g.several("Scan", start, x, shapes=[(1, shape[2]), shape], num_scan_inputs=1,
                        scan_input_axes=[1], scan_output_axes=[1], body=body)  # fmt: skip
    del g.shapes[last]


def _body(g: Growing, name: str, inputs: Sequence[ir.Value], nodes: Sequence[ir.Node]) -> ir.Graph:
    """A graph inside a node; its nodes are named like those of others."""
    for node in nodes:
        node.name = "node" if g.naming == "all alike" else ""
        node.outputs[0].name = g.fresh("b")
        node.outputs[0].type = ir.TensorType(FLOAT)
    return ir.Graph(inputs, [], nodes=nodes, name=name)


def rounded_already(g: Growing) -> None:
    """A Q and a DQ that somebody else has written.

    Behind a node that computes: through those that only move numbers ONNX Runtime 1.31 moves the DQ
    on, and ends the process where a body reads the last value from outside.
    """
    x = g.value()
    numbers = [g.constant(np.float32(0.05)), g.constant(np.array(128), np.uint8)]
    stored = g.hidden("QuantizeLinear", x, *numbers)
    again = g.hidden("DequantizeLinear", stored, *numbers)
    g.node("Elu", again, shape=g.shapes[x])


def places(g: Growing) -> None:
    """Whole numbers, as an output of the model."""
    x = g.value()
    g.outputs.append(g.hidden("ArgMax", x, axis=1, keepdims=g.one_of((0, 1))))


def padded(g: Growing) -> None:
    x = g.value(4, lambda s: s[2] >= 4 and s[3] >= 4)
    if x:
        n, channels, height, width = g.shapes[x]
        # less than the kernels of pooling: ONNX Runtime 1.31 puts a Pad into them, and refuses that
        pads = g.constant([0, 0, 1, 0, 0, 0, 1, 1], np.int64)
        mode = g.one_of(("constant", "reflect", "edge"))
        g.node("Pad", x, pads, shape=(n, channels, height + 2, width + 1), mode=mode)


def meaned(g: Growing) -> None:
    """By an attribute or, since opset 18, an input."""
    x = g.value(3)
    if x:
        _, _, inner = g.shapes[x]
        shape: Shape = (1, 1, inner)
        if g.opset >= 18:
            g.node("ReduceMean", x, g.constant([1], np.int64), shape=shape)
        else:
            g.node("ReduceMean", x, shape=shape, axes=[1])


def slopes(g: Growing) -> None:
    x = g.value(4)
    n = g.shapes[x][1]
    g.node("PRelu", x, g.constant(g.random.uniform(0, 0.5, (n, 1, 1))), shape=g.shapes[x])


def shuffled(g: Growing) -> None:
    x = g.value(4, lambda s: s[1] % 4 == 0 and s[2] <= 8)
    if x:
        n, channels, height, width = g.shapes[x]
        shape = (n, channels // 4, 2 * height, 2 * width)
        g.node("DepthToSpace", x, shape=shape, blocksize=2, mode=g.one_of(("DCR", "CRD")))


def repeated(g: Growing) -> None:
    x = g.value(3, lambda s: s[1] == 1)
    if x:
        shape = (1, 4, g.shapes[x][2])
        g.node("Expand", x, g.constant(shape, np.int64), shape=shape)


STEPS = (
    *(conv_1d, grouped_transposed_convolution, one_weight_for_two, einsum, dropout),
    *(trained_batch_norm, instance_norm, pool_with_positions, pieces, scalar, fed, embedded),
    *(recurrent, loop, scan, rounded_already, places, padded, meaned, slopes, shuffled, repeated),
)
