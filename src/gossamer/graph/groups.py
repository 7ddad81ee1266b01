"""Weights as integers of few bits, with a scale and a zero point for each group of inputs.

They are written as ONNX Runtime's contributed operator MatMulNBits, or as the standard's blocked
DequantizeLinear (opset 21) in front of the product. Activations stay in float.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.quant import SMALLEST_SCALE, Grid

ACCURACY_LEVEL = 4  # MatMulNBits takes its activation to int8, group by group
PARTS = ("stored", "scale", "zero_point")

Keep = Callable[[ir.TensorProtocol], ir.TensorProtocol]
Constants = tuple[ir.Value, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """How weights are stored.

    Attributes:
        bits: Of the stored, unsigned numbers: 4 or 8.
        size: Inputs in a group; the last one of an output may be shorter.
        symmetric: Whether every zero point is the middle, 2**(bits - 1).
    """

    bits: int
    size: int
    symmetric: bool

    def fitted(self, weight: NDArray[np.float32]) -> Grid:
        """The grid whose groups just hold their weights, `[outputs, inputs]`, and 0."""
        starts = np.arange(0, weight.shape[1], self.size)
        low = np.minimum(np.minimum.reduceat(weight, starts, axis=1), 0)
        high = np.maximum(np.maximum.reduceat(weight, starts, axis=1), 0)
        most, middle = (1 << self.bits) - 1, 1 << (self.bits - 1)
        if self.symmetric:
            scale = _usable(np.maximum(high / (most - middle), -low / middle))
            zero = np.full(scale.shape, middle, np.float32)
        else:
            scale = _usable((high - low) / most)
            zero = np.clip(np.rint(-low / scale), 0, most).astype(np.float32)
        return Grid(
            scale=scale,
            zero_point=zero,
            size=self.size,
            qmin=0,
            qmax=most,
            is_symmetric=self.symmetric,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """One quantized weight.

    Attributes:
        numbers: `[outputs, inputs]`, unsigned.
        grid: What they stand for.
        groups: How they are stored.
        is_transposed: Whether the float weight lay as `[outputs, inputs]` too (Gemm with transB).
    """

    numbers: NDArray[np.int16]
    grid: Grid
    groups: Groups
    is_transposed: bool


def pack_nbits(graph: ir.Graph, name: str, stored: Stored, keep: Keep) -> Constants:
    """What MatMulNBits reads, as new initializers called after `name`.

    B is `[outputs, groups, bytes of a group]`, low half first; zero points of an output are packed
    the same way, and absent where they are the middle (onnxruntime, docs/ContribOperators.md).
    """
    grid, bits = stored.grid, stored.groups.bits
    outputs, inputs = stored.numbers.shape
    count = grid.scale.shape[1]
    whole = np.zeros((outputs, count * grid.size), np.uint8)
    whole[:, :inputs] = stored.numbers
    weight = _packed(whole.reshape(outputs * count, grid.size), bits)
    contents: list[ir.TensorProtocol] = [
        ir.Tensor(weight.reshape(outputs, count, -1)),
        ir.Tensor(grid.scale.reshape(-1)),
    ]
    if not stored.groups.symmetric:
        zero = _packed(grid.zero_point.astype(np.uint8), bits)
        contents.append(ir.Tensor(zero.reshape(-1)))
    return tuple(
        initializer(graph, f"{name}_{part}", keep(tensor))
        for part, tensor in zip(PARTS, contents, strict=False)
    )


def multiply_nbits(graph: ir.Graph, node: ir.Node, constants: Constants, groups: Groups) -> None:
    """Put MatMulNBits in the place of a MatMul or Gemm; the bias of a Gemm is added behind it."""
    outputs, inputs = shape_of(node)
    product = ir.node(
        "MatMulNBits",
        [node.inputs[0], *constants],
        domain="com.microsoft",
        attributes={
            "K": inputs,
            "N": outputs,
            "bits": groups.bits,
            "block_size": groups.size,
            "accuracy_level": ACCURACY_LEVEL,
        },
        name=f"{node.name}_{groups.bits}_bits",
    )
    graph.insert_before(node, product)
    graph.opset_imports.setdefault("com.microsoft", 1)
    last, bias = product, node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        product.outputs[0].name = f"{node.name}_product"
        last = ir.node("Add", [product.outputs[0], bias], name=f"{node.name}_bias")
        graph.insert_before(node, last)
    before, after = node.outputs[0], last.outputs[0]
    after.shape, after.type = before.shape, before.type
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    after.name, before.name = before.name, f"{before.name}_float"
    graph.remove(node, safe=True)


def pack_blocked(graph: ir.Graph, name: str, stored: Stored, keep: Keep) -> Constants:
    """What a blocked DequantizeLinear reads, laid as the float weight was."""
    parts = (stored.numbers, stored.grid.scale, stored.grid.zero_point)
    numbers, scale, zero = parts if stored.is_transposed else tuple(part.T for part in parts)
    bits = stored.groups.bits
    contents = (
        _integers(numbers, bits),
        ir.Tensor(np.ascontiguousarray(scale)),
        _integers(zero, bits),
    )
    return tuple(
        initializer(graph, f"{name}_{part}", keep(tensor))
        for part, tensor in zip(PARTS, contents, strict=True)
    )


def read_blocked(graph: ir.Graph, node: ir.Node, constants: Constants, groups: Groups) -> None:
    """Let a MatMul or Gemm read its weight from a DequantizeLinear, which needs opset 21."""
    dequantize = ir.node(
        "DequantizeLinear",
        constants,
        attributes={
            "axis": node.attributes.get_int("transB", 0),
            "block_size": groups.size,
        },
        name=f"{node.name}_DequantizeLinear",
    )
    out, weight = dequantize.outputs[0], node.inputs[1]
    assert weight is not None  # it was quantized
    out.name, out.shape, out.type = f"{node.name}_weight", weight.shape, weight.type
    graph.insert_before(node, dequantize)
    node.replace_input_with(1, out)


def shape_of(node: ir.Node) -> tuple[int, int]:
    """Outputs and inputs of a MatMul or Gemm with a constant matrix."""
    weight = node.inputs[1]
    assert weight is not None
    assert weight.shape is not None  # of an initializer
    first, second = weight.shape.numpy()
    return (first, second) if node.attributes.get_int("transB", 0) else (second, first)


def _usable(scale: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.where(scale > SMALLEST_SCALE, scale, 1).astype(np.float32)


def _packed(numbers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Rows of numbers as rows of bytes; a row of odd length ends with half a byte of 0."""
    if bits == 8:
        return numbers
    even = np.pad(numbers, ((0, 0), (0, numbers.shape[1] % 2)))
    packed: NDArray[np.uint8] = even[:, 0::2] | (even[:, 1::2] << np.uint8(4))
    return packed


def _integers(array: NDArray[np.generic], bits: int) -> ir.TensorProtocol:
    whole = np.ascontiguousarray(array).astype(np.uint8)
    if bits == 8:
        return ir.Tensor(whole)
    content = _packed(whole.reshape(1, -1), bits).reshape(-1)
    return ir.PackedTensor(content, ir.DataType.UINT4, shape=ir.Shape(whole.shape))


def initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """A new initializer of this content, called `name` or nearly so."""
    while name in graph.initializers:  # of somebody else
        name += "_"
    tensor.name = name
    value = ir.Value(
        name=name,
        const_value=tensor,
        shape=ir.Shape(tensor.shape.numpy()),
        type=ir.TensorType(tensor.dtype),
    )
    graph.register_initializer(value)
    return value
