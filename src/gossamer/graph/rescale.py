"""Channels of a value scaled by what makes it: the factors cost nothing when the model runs.

A value whose channel j comes multiplied by f_j is as good as before to products that divide row j
of their weights by f_j. Relu and its like pass positive factors on. So the factors go into the last
linear node in front of them: rows of the weight and bias of a Conv or Gemm, columns of a MatMul and
the bias behind it, scale and bias of a normalization, the values of an attention. Xiao et al. 2022
(arXiv:2211.10438, section 4) and Nagel et al. 2019 (arXiv:1906.04721, section 4.1) do so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.graph.layout import CHANNEL_AXES
from gossamer.graph.match import constant, sole_consumer
from gossamer.graph.weights import constant_input

PASSES_ON = frozenset({"Relu", "LeakyRelu", "Identity"})
# where scale and bias of a normalization along the last axis stand among its inputs
NORMALIZATIONS = {
    "LayerNormalization": (1, 2),
    "SkipLayerNormalization": (2, 3),
    "RMSNormalization": (1,),
    "SimplifiedLayerNormalization": (1,),
    "SkipSimplifiedLayerNormalization": (2,),
}
ATTENTION_VALUES, ATTENTION_BIAS, ATTENTION_PAST = 2, 3, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A constant operand whose slices take the factors in.

    Attributes:
        node: Who reads it.
        index: As which input.
        axis: Along which axis the channels lie.
        first: Where the first of them lies.
    """

    node: ir.Node
    index: int
    axis: int
    first: int = 0


def makers(value: ir.Value, quantized: frozenset[str]) -> tuple[Part, ...]:
    """The constants that make the channels of `value`; none where something else has a part in it.

    Args:
        value: It.
        quantized: Names of values with Q/DQ of their own: their ranges must stay.
    """
    node = value.producer()
    while node is not None and node.op_type in PASSES_ON and not node.domain:
        source = node.inputs[0]
        if source is None or not _is_inner(source, quantized):
            return ()
        value, node = source, source.producer()
    if node is None or value is not node.outputs[0]:
        return ()  # as the sum that a normalization took
    if node.op_type in NORMALIZATIONS:
        return _normalization(node)
    if node.op_type == "MultiHeadAttention":
        return _attention(node, quantized)
    if node.op_type == "Mul":
        return _scaled(node)
    return _product(node, quantized)


def channels(parts: tuple[Part, ...]) -> int:
    """How many channels `makers` found."""
    shape = _shape(parts[0])
    assert shape is not None  # makers looked
    return shape[parts[0].axis]


def axis(parts: tuple[Part, ...]) -> int:
    """The axis of these channels in the value: 1 behind a Conv, else the last, -1."""
    return CHANNEL_AXES.get(parts[0].node.op_type, -1)


def fold(graph: ir.Graph, parts: tuple[Part, ...], factors: NDArray[np.float32]) -> None:
    """Multiply the slices of `parts` by `factors`, in place, under the same names.

    A scale or bias that other nodes read too is one of its own afterwards.
    """
    for part in parts:
        value = part.node.inputs[part.index]
        tensor = constant(value)
        assert value is not None  # makers looked
        assert tensor is not None
        array = tensor.numpy().copy()
        where = [slice(None)] * array.ndim
        where[part.axis] = slice(part.first, part.first + len(factors))
        shape = [1] * array.ndim
        shape[part.axis] = -1
        array[tuple(where)] *= factors.reshape(shape)
        if _is_own(value):
            value.const_value = ir.Tensor(array, name=value.name)
        else:
            name = f"{value.name}_{part.node.name}_rescaled"
            part.node.replace_input_with(part.index, constant_input(graph, name, array))


def _is_own(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _is_inner(value: ir.Value, quantized: frozenset[str]) -> bool:
    """Whether one node alone reads the value, and it has no range of its own."""
    return sole_consumer(value) is not None and value.name not in quantized


def _normalization(node: ir.Node) -> tuple[Part, ...]:
    if node.attributes.get_int("axis", -1) not in (-1, _last_axis(node)):
        return ()
    parts = tuple(
        Part(node=node, index=i, axis=0)
        for i in NORMALIZATIONS[node.op_type]
        if i < len(node.inputs) and node.inputs[i] is not None
    )
    sizes = {_row(part) for part in parts}
    return parts if len(sizes) == 1 and None not in sizes else ()


def _scaled(mul: ir.Node) -> tuple[Part, ...]:
    """The row that scales a normalization written out, if the other operand is no constant."""
    for index in (1, 0):
        part, other = Part(node=mul, index=index, axis=0), mul.inputs[1 - index]
        rank = len(other.shape) if other is not None and other.shape is not None else 0
        if _row(part) is not None and constant(other) is None and rank > 1:
            return (part,)
    return ()


def _last_axis(node: ir.Node) -> int | None:
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    return None if shape is None else len(shape) - 1


def _attention(node: ir.Node, quantized: frozenset[str]) -> tuple[Part, ...]:
    """The values' channels; those of the bias are its last ones; they must not be cached."""
    values = node.inputs[ATTENTION_VALUES] if len(node.inputs) > ATTENTION_VALUES else None
    is_cached = any(v is not None for v in (*node.inputs[ATTENTION_PAST:], *node.outputs[1:]))
    if values is None or is_cached or not _is_inner(values, quantized):
        return ()
    inner = makers(values, quantized)
    if not inner or axis(inner) != -1:
        return ()
    if len(node.inputs) <= ATTENTION_BIAS or node.inputs[ATTENTION_BIAS] is None:
        return inner
    size = _row(Part(node=node, index=ATTENTION_BIAS, axis=0))
    if size is None or size < channels(inner):
        return ()
    first = size - channels(inner)
    return (*inner, Part(node=node, index=ATTENTION_BIAS, axis=0, first=first))


def _product(node: ir.Node, quantized: frozenset[str]) -> tuple[Part, ...]:
    if node.op_type == "Add":
        return _biased(node, quantized)
    if node.domain or len(node.inputs) < 2:
        return ()
    weight = {"Conv": 0, "MatMul": 1, "Gemm": 0 if node.attributes.get_int("transB", 0) else 1}
    if node.op_type not in weight:
        return ()
    parts = [Part(node=node, index=1, axis=weight[node.op_type])]
    if node.op_type != "MatMul" and len(node.inputs) > 2 and node.inputs[2] is not None:
        parts.append(Part(node=node, index=2, axis=0))
    if not all(_is_own(value) for part in parts if (value := node.inputs[part.index]) is not None):
        return ()  # a plan knows them by their names
    shape = _shape(parts[0])
    if shape is None or len(shape) < 2 or (node.op_type != "Conv" and len(shape) > 2):
        return ()
    return tuple(parts) if {_row(part) for part in parts[1:]} <= {shape[parts[0].axis]} else ()


def _biased(add: ir.Node, quantized: frozenset[str]) -> tuple[Part, ...]:
    """A MatMul and the row that an Add puts on it."""
    for index in (1, 0):
        source, part = add.inputs[1 - index], Part(node=add, index=index, axis=0)
        product = source.producer() if source is not None else None
        if source is None or product is None or product.op_type != "MatMul":
            continue
        found = _product(product, quantized)
        if found and _is_inner(source, quantized) and _row(part) == channels(found):
            return (*found, part)
    return ()


def _shape(part: Part) -> tuple[int, ...] | None:
    """Of a float32 constant operand; None of anything else."""
    tensor = constant(part.node.inputs[part.index])
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return None
    return tuple(int(d) for d in tensor.shape.numpy())


def _row(part: Part) -> int | None:
    """How many numbers a constant row has; None of anything else."""
    shape = _shape(part)
    return shape[0] if shape is not None and len(shape) == 1 else None
