"""Q/DQ graphs with ONNX's quantized operators instead: QLinearConv where DQ, Conv and Q stood.

ONNX Runtime makes the same of Q/DQ when it loads a file; here the file says it. Standard ONNX has
QLinearConv and QLinearMatMul, the domain com.microsoft the others (onnxruntime,
docs/ContribOperators.md). What has no such operator keeps its Q/DQ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass

from gossamer.graph.match import constant, keeps_values, sole_consumer

DOMAIN = "com.microsoft"
BYTES = frozenset({ir.DataType.UINT8, ir.DataType.INT8})
# what is done on stored numbers as on float ones, where both sides have one scale
MOVERS = frozenset(
    {"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Resize"}
)
Inputs = list[ir.Value | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stored:
    """A value as integers of one byte, or of four where it is a bias.

    Attributes:
        value: The integers.
        scale: Its scale.
        zero: Its zero point.
    """

    value: ir.Value
    scale: ir.Value
    zero: ir.Value

    @property
    def all(self) -> Inputs:
        """As the operands that quantized operators take."""
        return [self.value, self.scale, self.zero]

    @property
    def numbers(self) -> Inputs:
        """Scale and zero point."""
        return [self.scale, self.zero]


def to_qoperators(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with quantized operators where DQ, operator and Q stand for one."""
    graph = model.graph
    for node in list(graph):
        if not node.domain:
            _rewrite(graph, node)
    RemoveUnusedNodesPass()(model)
    graph.sort()
    NameFixPass()(model)
    if any(node.domain == DOMAIN for node in graph):
        graph.opset_imports.setdefault(DOMAIN, 1)
    return model


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    quantize, made = _behind(node)
    if node.op_type in MOVERS:
        operands = _moved(node, made)
        fresh = None if operands is None else _node(node, node.op_type, operands)
    elif node.op_type in FORMS:
        read = [_read(value) for value in node.inputs]
        fresh = None if None in read[:2] else FORMS[node.op_type](node, read, made)
    else:
        return
    if fresh is None:
        return
    old, new = (node if quantize is None else quantize).outputs[0], fresh.outputs[0]
    new.shape, new.type = old.shape, old.type
    graph.append(fresh)
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, old.name = old.name, f"{old.name}_before"


def _read(value: ir.Value | None) -> _Stored | None:
    """What a DQ in front of an operand reads."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "DequantizeLinear" or node.domain:
        return None
    whole, scale, zero = node.inputs if len(node.inputs) == 3 else (None, None, None)
    if whole is None or scale is None or zero is None or "block_size" in node.attributes:
        return None
    return _Stored(value=whole, scale=scale, zero=zero)


def _behind(node: ir.Node) -> tuple[ir.Node | None, _Stored | None]:
    """The Q that alone reads what a node makes, and what it makes of it.

    A Clip in between whose bounds cut off nothing that the Q does not is a part of it.
    """
    reader = sole_consumer(node.outputs[0]) if len(node.outputs) == 1 else None
    clip = None
    if reader is not None and reader.op_type == "Clip":
        clip, reader = reader, sole_consumer(reader.outputs[0])
    if reader is None or reader.op_type != "QuantizeLinear" or reader.domain:
        return None, None
    scale, zero = reader.inputs[1], reader.inputs[2] if len(reader.inputs) > 2 else None
    if scale is None or zero is None or zero.dtype not in BYTES:
        return None, None
    made = _Stored(value=reader.outputs[0], scale=scale, zero=zero)
    if clip is not None and not _is_repeated(clip, made):
        return None, None
    return reader, made


def _is_repeated(clip: ir.Node, made: _Stored) -> bool:
    """Whether a Q cuts off all that the Clip in front of it does."""
    scale, zero = constant(made.scale), constant(made.zero)
    if scale is None or zero is None:
        return False
    whole = np.iinfo(zero.numpy().dtype)
    bounds = [tensor for value in clip.inputs[1:] if (tensor := constant(value)) is not None]
    if len(bounds) != 2:
        return False
    low, high = (np.rint(b.numpy() / scale.numpy()) + zero.numpy() for b in bounds)
    return bool(low <= whole.min and whole.max <= high)


def _node(node: ir.Node, op: str, operands: Inputs, domain: str = "", **more: int) -> ir.Node:
    """`op` in the place of a node, with its attributes; beta of a Gemm is 1 where it is a site."""
    kept = {a.name: a.value for a in node.attributes.values() if a.name != "beta"}
    return ir.node(
        op,
        operands,
        attributes={**kept, **more},
        domain=domain,
        name=f"{node.name}_quantized",
    )


def _moved(node: ir.Node, made: _Stored | None) -> Inputs | None:
    """The operands of a node that moves numbers between a DQ and a Q of one scale."""
    read = _read(node.inputs[0])
    if read is None or made is None or not keeps_values(node):
        return None
    sides = [[constant(v) for v in each.numbers if v is not None] for each in (read, made)]
    pairs = list(zip(*sides, strict=True))
    if any(a is None or b is None or not np.array_equal(a.numpy(), b.numpy()) for a, b in pairs):
        return None
    return [read.value, *node.inputs[1:]]


def _are_bytes(*stored: _Stored | None) -> bool:
    return all(each is not None and each.zero.dtype in BYTES for each in stored)


Read = list[_Stored | None]
Form = Callable[[ir.Node, Read, _Stored | None], ir.Node | None]


def _conv(node: ir.Node, read: Read, made: _Stored | None) -> ir.Node | None:
    x, weight = read[0], read[1]
    if x is None or weight is None or made is None or not _are_bytes(x, weight):
        return None
    operands = [*x.all, *weight.all, *made.numbers]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        if (bias := read[2]) is None:
            return None
        operands.append(bias.value)
    return _node(node, "QLinearConv", operands)


def _gemm(node: ir.Node, read: Read, made: _Stored | None) -> ir.Node | None:
    x, weight = read[0], read[1]
    bias = read[2] if len(read) > 2 else None
    is_known = bias is not None or len(node.inputs) < 3 or node.inputs[2] is None
    if x is None or weight is None or not is_known or not _are_bytes(x, weight):
        return None
    operands = [*x.all, *weight.all, bias.value if bias is not None else None]
    return _node(node, "QGemm", [*operands, *(made.numbers if made else [])], DOMAIN)


def _matmul(node: ir.Node, read: Read, made: _Stored | None) -> ir.Node | None:
    x, weight = read[0], read[1]
    if x is None or weight is None or not _are_bytes(x, weight):
        return None
    if made is not None:
        return _node(node, "QLinearMatMul", [*x.all, *weight.all, *made.numbers])
    operands: Inputs = [x.value, weight.value, x.scale, weight.scale, x.zero, weight.zero]
    return _node(node, "MatMulIntegerToFloat", operands, DOMAIN)


def _elementwise(node: ir.Node, read: Read, made: _Stored | None) -> ir.Node | None:
    x, y = read[0], read[1] if len(read) > 1 else None
    if x is None or y is None or made is None or not _are_bytes(x, y):
        return None
    return _node(node, f"QLinear{node.op_type}", [*x.all, *y.all, *made.numbers], DOMAIN)


def _single(node: ir.Node, read: Read, made: _Stored | None) -> ir.Node | None:
    x = read[0]
    if x is None or made is None or not _are_bytes(x):
        return None
    last = {"channels_last": 0} if node.op_type.endswith("Pool") else {}
    return _node(node, f"QLinear{node.op_type}", [*x.all, *made.numbers], DOMAIN, **last)


def _concat(node: ir.Node, read: Read, made: _Stored | None) -> ir.Node | None:
    known = [each for each in read if each is not None]
    if made is None or len(known) < len(read) or not _are_bytes(*known):
        return None
    operands: Inputs = [*made.numbers, *(operand for each in known for operand in each.all)]
    return _node(node, "QLinearConcat", operands, DOMAIN)


FORMS: dict[str, Form] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _elementwise,
    "Mul": _elementwise,
    "Concat": _concat,
    "AveragePool": _single,
    "GlobalAveragePool": _single,
    "Sigmoid": _single,
    "LeakyRelu": _single,
}
