"""Tables that rows are looked up in, as 8-bit integers with one scale for each row.

A row is looked up in the integers and its scale in a column of scales, by operators of the standard
that every runtime has. The rows are made float only then: a DequantizeLinear in front of the
lookup would make the whole table float for every token.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.graph.groups import Constants, Keep, initializer
from gossamer.graph.match import constant
from gossamer.quant import SMALLEST_SCALE

MOST = 127  # of a stored number
SHARE = 1 / 20  # of all weights: smaller tables are not worth two more operators
DETAIL = "rows of 8-bit numbers, made float when they are looked up"
AT_ONCE = 1 << 22  # numbers of a table that are rounded at a time


def table(node: ir.Node) -> ir.TensorProtocol | None:
    """The float32 matrix whose rows `node` looks up; None where it does something else."""
    if node.op_type != "Gather" or node.domain or node.attributes.get_int("axis", 0) != 0:
        return None
    tensor = constant(node.inputs[0])
    is_table = tensor is not None and len(tensor.shape) == 2
    return tensor if is_table and tensor is not None and tensor.dtype == ir.DataType.FLOAT else None


def is_large(tensor: ir.TensorProtocol, graph: ir.Graph) -> bool:
    """Whether the table is a part of the model's weights that is worth storing otherwise."""
    weights = (v.const_value for v in graph.initializers.values())
    return tensor.nbytes >= SHARE * sum(t.nbytes for t in weights if t is not None)


def store_rows(graph: ir.Graph, name: str, tensor: ir.TensorProtocol, keep: Keep) -> Constants:
    """Integers `[rows, columns]` and scales `[rows, 1]`, as initializers called after `name`."""
    array = tensor.numpy()
    step = max(1, AT_ONCE // array.shape[1])
    parts = [_rounded(array[first : first + step]) for first in range(0, len(array), step)]
    contents = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return tuple(
        initializer(graph, f"{name}_{part}", keep(ir.Tensor(content)))
        for part, content in zip(("stored", "scale"), contents, strict=True)
    )


def look_up(graph: ir.Graph, node: ir.Node, constants: Constants) -> None:
    """Put the lookup of integers and scales in the place of one of floats."""
    before, made = node.outputs[0], []
    for part, source in zip(("stored", "scale"), constants, strict=True):
        name = f"{node.name}_{part}"
        made.append(ir.node("Gather", [source, node.inputs[1]], name=name))
        made[-1].outputs[0].name = name
    number = ir.node(
        "Cast", made[0].outputs, attributes={"to": ir.DataType.FLOAT}, name=f"{node.name}_float"
    )
    number.outputs[0].name = f"{node.name}_number"
    last = ir.node("Mul", [number.outputs[0], made[1].outputs[0]], name=f"{node.name}_8_bits")
    graph.insert_before(node, [*made, number, last])
    after = last.outputs[0]
    after.shape, after.type = before.shape, before.type
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    after.name, before.name = before.name, f"{before.name}_float"
    graph.remove(node, safe=True)


def _rounded(rows: NDArray[np.generic]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    real = rows.astype(np.float32)
    scale = np.abs(real).max(axis=1, keepdims=True) / MOST
    scale = np.where(scale > SMALLEST_SCALE, scale, 1).astype(np.float32)
    return np.rint(real / scale).astype(np.int8), scale
