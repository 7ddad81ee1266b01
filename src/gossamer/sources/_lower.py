"""Graphs said in an older opset, for what reads no newer one.

onnx's version converter goes up; down it knows few operators, not even Pad of opset 18. Most nodes
need no converter: what they ask for could be said before. Of the others, inputs become attributes
again (axes of ReduceMean), and LayerNormalization and Shape the operators that they stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.defs import OpSchema, SchemaError, get_schema
from onnx_ir.passes.common import RemoveUnusedNodesPass

from gossamer.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable

END = np.iinfo(np.int64).max


def lower(model: ir.Model, opset: int) -> None:
    """Say every node of a graph in an older opset, in place.

    Raises:
        BuildError: A node asks for what that opset cannot say.
    """
    held = model.graph.opset_imports[""]
    for graph in model.graphs():
        for node in list(graph):
            if node.domain:
                continue
            spell = SPELLED.get(node.op_type) if opset < SINCE.get(node.op_type, 0) else None
            if refusal := spell(node) if spell else _relabelled(node, held, opset):
                raise BuildError(
                    f"a graph that opset {opset} can say",
                    f"{node.op_type} {node.name!r}, which {refusal}",
                    "Take a newer opset, or none: files then have that in which the model opens.",
                )
    RemoveUnusedNodesPass()(model)
    model.graph.opset_imports[""] = opset


def _relabelled(node: ir.Node, held: int, opset: int) -> str:
    """Edit a node in place so that the older operator takes it; why it does not, if so."""
    try:
        newer = get_schema(node.op_type, max_inclusive_version=held)
        older = get_schema(node.op_type, max_inclusive_version=opset)
    except SchemaError:
        return "it does not have"
    if older.since_version == newer.since_version:
        return ""
    return _with_old_inputs(node, newer, older) or _with_old_attributes(node, newer, older)


def _with_old_inputs(node: ir.Node, newer: OpSchema, older: OpSchema) -> str:
    """Edit a node in place: constants that were attributes once are so again."""
    inputs = {given.name for given in older.inputs}
    for index, value in enumerate(node.inputs):
        name = newer.inputs[min(index, len(newer.inputs) - 1)].name
        if value is None or name in inputs or name not in older.attributes:
            continue
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None:
            return f"computes its {name}"
        numbers = tensor.numpy().ravel().tolist()
        is_list = older.attributes[name].type.name.endswith("S")
        node.attributes.add(
            ir.convenience.convert_attribute(name, numbers if is_list else numbers[0])
        )
        node.replace_input_with(index, None)
    while node.inputs and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)
    if len(node.inputs) > older.max_input:
        return f"has {len(node.inputs)} inputs, where {older.max_input} were allowed"
    return ""


def _with_old_attributes(node: ir.Node, newer: OpSchema, older: OpSchema) -> str:
    """Edit a node in place: attributes that say nothing are left out."""
    for name, given in list(node.attributes.items()):
        if name in older.attributes:
            continue
        default = newer.attributes[name].default_value
        is_default = default.type != onnx.AttributeProto.UNDEFINED and (
            ir.from_proto(default).value == given.value
        )
        if not is_default and not _is_idle(node, name):
            return f"has the attribute {name}"
        node.attributes.pop(name)
    return ""


def _is_idle(node: ir.Node, name: str) -> bool:
    """Whether an attribute says nothing: the axis of one scale, or how to read sizes of 0.

    With allowzero a Reshape to a size of 0 is one of an empty tensor; no other has such sizes.
    """
    if (node.op_type, name) == ("Reshape", "allowzero"):
        return True
    scale = node.inputs[1] if name == "axis" and node.op_type.endswith("Linear") else None
    return scale is not None and scale.shape is not None and len(scale.shape) == 0


def _spelled_norm(norm: ir.Node) -> str:
    """Edit a graph in place: a LayerNormalization as runtimes know it, and join it again."""
    x, scale, *bias = norm.inputs
    axis = norm.attributes.get_int("axis", -1)
    rank = None if x is None or x.shape is None else len(x.shape)
    if axis >= 0 and rank is None:
        return f"normalizes from axis {axis} on, of an unknown number"
    if any(output.uses() for output in norm.outputs[1:]):
        return "gives mean and deviation too"
    axes = list(range(axis - (rank or 0) if axis >= 0 else axis, 0))
    spelling = _Spelling(norm)
    centred = spelling.add("Sub", x, spelling.add("ReduceMean", x, axes=axes))
    square = spelling.add("Pow", centred, spelling.constant(np.float32(2)))
    spread = spelling.add("ReduceMean", square, axes=axes)
    epsilon = spelling.constant(np.float32(norm.attributes.get_float("epsilon", 1e-5)))
    deviation = spelling.add("Sqrt", spelling.add("Add", spread, epsilon))
    y = spelling.add("Mul", spelling.add("Div", centred, deviation), scale)
    if bias and bias[0] is not None:
        y = spelling.add("Add", y, bias[0])
    return spelling.replace(y)


def _spelled_shape(shape: ir.Node) -> str:
    """Edit a graph in place: a Shape of some axes as a slice of the whole."""
    if not shape.attributes:
        return ""
    start, end = shape.attributes.get_int("start", 0), shape.attributes.get_int("end", END)
    spelling = _Spelling(shape)
    ends = (spelling.constant(np.array([each], np.int64)) for each in (start, end))
    return spelling.replace(spelling.add("Slice", spelling.add("Shape", shape.inputs[0]), *ends))


class _Spelling:
    """Nodes that say together what one node says."""

    def __init__(self, node: ir.Node) -> None:
        self._node = node
        self._made: list[ir.Node] = []

    def add(self, kind: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """The output of one more node."""
        name = f"{self._node.name}/{kind}_{len(self._made)}"
        self._made.append(ir.node(kind, inputs, attributes=attributes, name=name))
        return self._made[-1].outputs[0]

    def constant(self, number: np.generic | np.ndarray) -> ir.Value:
        """The output of a constant."""
        return self.add("Constant", value=ir.tensor(np.asarray(number)))

    def replace(self, value: ir.Value) -> str:
        """Put `value` into the graph in place of the node's output; refuses nothing."""
        graph, node = self._node.graph, self._node
        assert graph is not None  # it is one of the graph's nodes
        old = node.outputs[0]
        ir.convenience.replace_nodes_and_values(graph, node, [node], self._made, [old], [value])
        return ""


SINCE = {"LayerNormalization": 17, "Shape": 15}
SPELLED: dict[str, Callable[[ir.Node], str]] = {
    "LayerNormalization": _spelled_norm,
    "Shape": _spelled_shape,
}
