"""Sites of a graph with Q/DQ, whoever wrote it, and the same graph with some of them in float.

A site is a node that reads numbers from behind DequantizeLinear, straight or through nodes that
only move numbers. What it reads so is its own: whoever reads a value decides whether in int8. A
pair behind a graph output belongs to the node that makes the output.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from gossamer.graph.match import VIEWS, constant, keeps_values
from gossamer.graph.weights import constant_input
from gossamer.quant import QParams

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
MOVING = (*sorted(VIEWS), "MaxPool", "Slice", "Pad", "Resize", "Split")
OUTPUT = ""  # stands for the node that reads a graph output


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """One operand that comes from behind Q/DQ.

    Attributes:
        node: Name of the node that reads the DQ; OUTPUT for a graph output.
        index: Which of its inputs, or of the graph's outputs.
        value: Name of the value in front of the Q; of a stored constant, that of the DQ's output.
        is_constant: Whether the value is a constant.
    """

    node: str
    index: int
    value: str
    is_constant: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A node that reads stored integers.

    Attributes:
        name: Of the node.
        op: Its operator type.
        output: Name of what it makes, as the float graph calls it too.
        reads: What it reads from behind Q/DQ.
    """

    name: str
    op: str
    output: str
    reads: tuple[Read, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """What one DQ knows of its integers.

    Attributes:
        numbers: Scale and zero point.
        low: Smallest integer of the stored type.
        high: Largest.
        integers: The stored constant; None of an activation.
    """

    numbers: QParams
    low: int
    high: int
    integers: NDArray[np.generic] | None


def sites(graph: ir.Graph) -> tuple[Site, ...]:
    """Every site, in data order; its nodes must have names of their own."""
    claimed: set[tuple[str, int]] = set()
    reads: dict[ir.Node, list[Read]] = {}
    for node in graph:
        if node.op_type in (QUANTIZE, DEQUANTIZE) or _only_moves(node):
            continue
        for index, value in enumerate(node.inputs):
            if value is not None:
                reads.setdefault(node, []).extend(_reads(node.name or "", index, value, claimed))
    for index, value in enumerate(graph.outputs):
        found = list(_reads(OUTPUT, index, value, claimed))
        maker = _maker(value)
        if found and maker is not None:
            reads.setdefault(maker, []).extend(found)
    return tuple(
        Site(name=node.name or "", op=node.op_type, output=_public_name(node), reads=tuple(mine))
        for node in graph
        if (mine := reads.get(node))
    )


def in_float(
    model: ir.Model, chosen: Collection[Site], originals: Mapping[Read, NDArray[np.generic]]
) -> ir.Model:
    """`model` (edited in place) in which the chosen sites read float numbers.

    Args:
        model: The graph that the sites were found in, or a copy.
        chosen: The sites.
        originals: Float constants by read; one that is missing stays as it is stored.
    """
    graph = model.graph
    nodes = {node.name or "": node for node in graph}
    values = {v.name: v for v in (*graph.inputs, *(o for n in graph for o in n.outputs))}
    for site in chosen:
        for read in site.reads:
            if read.is_constant:
                if read in originals:
                    name = f"{read.node}_{read.index}_float"
                    fresh = constant_input(graph, name, originals[read])
                    nodes[read.node].replace_input_with(read.index, fresh)
            elif read.node == OUTPUT:
                _bypass_output(graph, read.index, values[read.value])
            else:
                nodes[read.node].replace_input_with(read.index, values[read.value])
    RemoveUnusedNodesPass()(model)
    graph.sort()
    return model


def originals(
    model: ir.Model, found: Collection[Site], reference: ir.Model
) -> dict[Read, NDArray[np.generic]]:
    """The float constants of the sites, as far as `reference` or the graph itself has them."""
    makers = {o.name: node for node in reference.graph for o in node.outputs}
    nodes = {node.name or "": node for node in model.graph}
    kept: dict[Read, NDArray[np.generic]] = {}
    for site in found:
        twin = makers.get(site.output)
        for read in (r for r in site.reads if r.is_constant):
            dequantize = _producer(nodes[read.node].inputs[read.index])
            own = constant(_before(dequantize))
            if own is not None:  # a float constant in front of a Q of its own
                kept[read] = own.numpy()
            elif twin is not None and twin.op_type == site.op and read.node == site.name:
                tensor = (
                    constant(twin.inputs[read.index]) if read.index < len(twin.inputs) else None
                )
                if tensor is not None and list(tensor.shape) == _shape(dequantize):
                    kept[read] = tensor.numpy()
    return kept


def stored(graph: ir.Graph, read: Read) -> Stored | None:
    """The numbers behind a read; None where they are computed or stored in blocks."""
    if read.node == OUTPUT:
        node = graph.outputs[read.index].producer()
    else:
        reader = next(n for n in graph if n.name == read.node)
        node = _producer(reader.inputs[read.index])
    numbers = numbers_of(node) if node is not None else None
    if node is None or numbers is None:
        return None
    own = constant(node.inputs[0])
    low, high = limits(numbers.zero_point.dtype)
    integers = own.numpy() if own is not None else None
    before = constant(_before(node))
    if integers is None and before is not None:
        integers = _quantized(before.numpy(), numbers, low, high)
    return Stored(numbers=numbers, low=low, high=high, integers=integers)


def numbers_of(node: ir.Node) -> QParams | None:
    """Scale and zero point of a Q or DQ; None where they are computed or there are blocks."""
    scale = constant(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    tensor, own = constant(given), constant(node.inputs[0])
    if scale is None or "block_size" in node.attributes or (given is not None and tensor is None):
        return None
    scales = scale.numpy().astype(np.float32)
    dtype = np.dtype(np.uint8)
    if tensor is None and own is not None and node.op_type == DEQUANTIZE:
        dtype = own.numpy().dtype
    zero = tensor.numpy() if tensor is not None else np.zeros(scales.shape, dtype)
    if scales.size == 1:
        scales, zero = scales.reshape(()), zero.reshape(())
    axis = None if scales.ndim == 0 else node.attributes.get_int("axis", 1)
    return QParams(scale=scales, zero_point=zero, axis=axis)


def _reads(node: str, index: int, value: ir.Value, claimed: set[tuple[str, int]]) -> Iterator[Read]:
    """What stands behind Q/DQ on the way up from one operand, to the node that computes it."""
    while (producer := value.producer()) is not None:
        if producer.op_type == DEQUANTIZE:
            if (node, index) in claimed:
                return
            before = _before(producer)
            if constant(producer.inputs[0]) is not None or constant(before) is not None:
                claimed.add((node, index))
                yield Read(node=node, index=index, value=value.name or "", is_constant=True)
                return
            if before is None:
                return
            claimed.add((node, index))
            yield Read(node=node, index=index, value=before.name or "", is_constant=False)
            quantize = producer.inputs[0].producer()  # type: ignore[union-attr]
            node, index, value = (quantize.name or "") if quantize else "", 0, before
        elif _only_moves(producer) and producer.inputs[0] is not None:
            node, index, value = producer.name or "", 0, producer.inputs[0]
        else:
            return


def _only_moves(node: ir.Node) -> bool:
    return node.op_type in MOVING and not node.domain and keeps_values(node)


def _producer(value: ir.Value | None) -> ir.Node | None:
    return value.producer() if value is not None else None


def _before(dequantize: ir.Node | None) -> ir.Value | None:
    """What the Q in front of a DQ reads."""
    quantize = _producer(dequantize.inputs[0]) if dequantize is not None else None
    is_pair = quantize is not None and quantize.op_type == QUANTIZE
    return quantize.inputs[0] if is_pair and quantize is not None else None


def _maker(value: ir.Value) -> ir.Node | None:
    """The node that computes what a graph output shows."""
    node = value.producer()
    while node is not None and (node.op_type in (QUANTIZE, DEQUANTIZE) or _only_moves(node)):
        node = _producer(node.inputs[0])
    return node


def _public_name(node: ir.Node) -> str:
    """The name of what a node makes; that of the graph output which shows it behind Q/DQ."""
    value = node.outputs[0]
    for use in value.uses():
        if use.node.op_type != QUANTIZE:
            continue
        for behind in use.node.outputs[0].uses():
            if behind.node.op_type == DEQUANTIZE and behind.node.outputs[0].is_graph_output():
                return behind.node.outputs[0].name or ""
    return value.name or ""


def _bypass_output(graph: ir.Graph, index: int, source: ir.Value) -> None:
    old = graph.outputs[index]
    node = ir.node("Identity", [source], name=f"{old.name}_float_output")
    fresh = node.outputs[0]
    fresh.name, old.name = old.name, f"{old.name}_stored"
    fresh.shape, fresh.type = old.shape, old.type
    graph.append(node)
    graph.outputs[index] = fresh


def _shape(dequantize: ir.Node | None) -> list[int]:
    tensor = constant(dequantize.inputs[0]) if dequantize is not None else None
    return list(tensor.shape.numpy()) if tensor is not None else []


def limits(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """The smallest and the largest number of an integer type."""
    import ml_dtypes

    found = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]  # it has no types
    return int(found.min), int(found.max)


def _quantized(
    array: NDArray[np.generic], numbers: QParams, low: int, high: int
) -> NDArray[np.generic]:
    scale, zero = numbers.aligned(array.ndim)
    whole = np.rint(array.astype(np.float32) / scale) + zero.astype(np.float32)
    stored: NDArray[np.generic] = np.clip(whole, low, high).astype(numbers.zero_point.dtype)
    return stored
