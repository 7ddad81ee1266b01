"""Blocks that work channels-last between convolutions, in the layout of the convolutions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from gossamer.graph.match import constant, sole_consumer
from gossamer.graph.weights import constant_input

LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # NCHW to NHWC, and back
ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Erf", "Gelu", "Relu", "Sigmoid", "Tanh", "Clip"}


def channels_first(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with fewer Transposes between convolutions.

    What reads a Transpose to channels-last works on the value in front of it instead, and the
    Transpose moves behind. Where it meets the Transpose back, both go.

    1. LayerNormalization over channels is written as the difference to the mean, divided by its
       L2 norm, both along axis 1.
    2. MatMul by a constant becomes a Conv with a 1×1 kernel.
    3. Elementwise nodes stay what they are.

    Values keep their names: they have the same elements, so that their ranges hold.

    OpenVINO 2026.4.1 runs all of this in the layout of its convolutions (acdb; NormalizeL2 in one
    kernel), and adds the other branch inside of the second Conv. Where axes are open it copies at
    every Transpose, twice: ConvNeXt took 0.77 of the time (Zen 4, 2026-11-22).
    """
    for node in list(model.graph):
        if node.op_type == "LayerNormalization":
            _normalize(node)
        elif node.op_type == "MatMul":
            _convolve(node)
        elif node.op_type in ELEMENTWISE:
            _pass(node)
        elif node.op_type == "Transpose":
            _cancel(node)
    passes.CommonSubexpressionEliminationPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    model.graph.sort()
    return model


def _in_front(value: ir.Value | None) -> ir.Value | None:
    """What a Transpose turned into the channels-last `value`."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Transpose":
        return None
    return node.inputs[0] if tuple(node.attributes.get_ints("perm", ())) == LAST else None


def _replace(out: ir.Value, nodes: list[ir.Node]) -> None:
    """The channels-first output of the last of `nodes` takes the place and the name of `out`."""
    old, made = out.producer(), nodes[-1].outputs[0]
    if old is None or not isinstance(old.graph, ir.Graph):
        return
    made.name, out.name = out.name, f"{out.name}_before"
    made.type, made.shape = out.type, _permuted(out.shape)
    back = ir.node("Transpose", [made], attributes={"perm": LAST}, name=f"{made.name}_last")
    turned = back.outputs[0]
    turned.name, turned.type, turned.shape = f"{made.name}_last", out.type, out.shape
    out.replace_all_uses_with(turned)
    old.graph.insert_after(old, [*(n for n in nodes if n is not old), back])


def _permuted(shape: ir.Shape | None) -> ir.Shape | None:
    return None if shape is None else ir.Shape([shape[axis] for axis in FIRST])


def _normalize(norm: ir.Node) -> None:
    """sqrt(C) (x - mean) / sqrt(sum((x - mean)^2) + C epsilon), times scale, plus bias."""
    source, out, graph = _in_front(norm.inputs[0]), norm.outputs[0], norm.graph
    factors = [tensor for v in norm.inputs[1:] if (tensor := constant(v)) is not None]
    if source is None or not isinstance(graph, ir.Graph) or out.is_graph_output():
        return
    channels = out.shape[-1] if out.shape else None
    if len(factors) < len(norm.inputs) - 1 or out.dtype != ir.DataType.FLOAT:
        return
    if any(tuple(f.shape) != (channels,) for f in factors) or not isinstance(channels, int):
        return
    scale, *biases = factors
    epsilon = norm.attributes.get_float("epsilon", 1e-5)

    def number(name: str, content: object) -> ir.Value:
        return constant_input(graph, f"{out.name}_{name}", np.array(content, np.float32))

    def along(array: ir.TensorProtocol) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return array.numpy().astype(np.float32).reshape(1, -1, 1, 1)

    nodes: list[ir.Node] = []

    def add(op: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        name = f"{norm.name}_{len(nodes)}"
        node = ir.node(op, inputs, attributes=attributes, name=name)
        node.outputs[0].name, node.outputs[0].type = f"{out.name}_{len(nodes)}", out.type
        nodes.append(node)
        return node.outputs[0]

    axis = constant_input(graph, "channel_axis", np.array([1], np.int64))
    mean = add("ReduceMean", source, axis, keepdims=1)
    centred = add("Sub", source, mean)
    power = add("ReduceSum", add("Pow", centred, number("two", 2)), axis, keepdims=1)
    length = add("Sqrt", add("Add", power, number("epsilon", channels * epsilon)))
    result = add("Div", centred, length)
    result = add("Mul", result, number("scale", along(scale) * np.sqrt(channels)))
    for bias in biases:
        result = add("Add", result, number("bias", along(bias)))
    _replace(out, nodes)


def _convolve(product: ir.Node) -> None:
    source, weight = _in_front(product.inputs[0]), product.inputs[1]
    tensor, graph = constant(weight), product.graph
    if source is None or weight is None or tensor is None or len(tensor.shape) != 2:
        return
    if product.outputs[0].is_graph_output() or not isinstance(graph, ir.Graph):
        return
    out, bias = _biased(product)
    kernel = np.ascontiguousarray(tensor.numpy().T)[:, :, None, None]
    operands = [source, constant_input(graph, f"{weight.name}_pointwise", kernel)]
    operands += [bias] if bias is not None else []
    _replace(out, [ir.node("Conv", operands, name=f"{product.name}_pointwise")])


def _biased(product: ir.Node) -> tuple[ir.Value, ir.Value | None]:
    """The value behind the Add of a bias, and the bias, where nothing else reads the product."""
    out, width = product.outputs[0], product.inputs[1]
    add = sole_consumer(out)
    if add is None or add.op_type != "Add" or add.outputs[0].is_graph_output() or width is None:
        return out, None
    other = add.inputs[1] if add.inputs[0] is out else add.inputs[0]
    tensor = constant(other)
    if tensor is None or width.shape is None or tuple(tensor.shape) != (width.shape[1],):
        return out, None
    return add.outputs[0], other


def _pass(node: ir.Node) -> None:
    """An elementwise node of values that are all turned, and constants for all or each channel."""
    out, graph = node.outputs[0], node.graph
    fronts = [_in_front(v) for v in node.inputs]
    if out.is_graph_output() or not any(fronts) or not isinstance(graph, ir.Graph):
        return
    operands = []
    for value, front in zip(node.inputs, fronts, strict=True):
        tensor = constant(value)
        if front is not None or value is None:
            operands.append(front)
        elif tensor is not None and tensor.size == 1:
            operands.append(value)
        elif tensor is not None and len(tensor.shape) == 1:
            turned = tensor.numpy().reshape(1, -1, 1, 1)
            operands.append(constant_input(graph, f"{value.name}_first", turned))
        else:
            return
    attributes = node.attributes.values()
    fresh = ir.Node(node.domain, node.op_type, operands, attributes, name=f"{node.name}_first")
    _replace(out, [fresh])


def _cancel(back: ir.Node) -> None:
    """Readers of a Transpose that undoes one to channels-last read what was in front of both."""
    source, out = _in_front(back.inputs[0]), back.outputs[0]
    if tuple(back.attributes.get_ints("perm", ())) != FIRST or source is None:
        return
    if not out.is_graph_output():
        out.replace_all_uses_with(source)
