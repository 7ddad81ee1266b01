"""Numbers that came with a model: Q/DQ of other tools, taken out of it and kept by name.

A model that was trained with fake quantization, or that another tool has quantized, says of values
and weights how they are stored. The graph becomes a float graph, so that sites are placed as the
target wants them, and the numbers stay in the model's metadata until `quantize-static` writes them.
Weights are left on their grid. A float graph of a module that was trained so (`gossamer.export`)
carries the numbers in its metadata from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from gossamer import carried
from gossamer.graph.layout import PAIR, pair_sums
from gossamer.graph.match import constant, keeps_values
from gossamer.graph.sites import DEQUANTIZE, QUANTIZE, limits, numbers_of
from gossamer.graph.weights import constant_input
from gossamer.plan import Decision, Plan
from gossamer.quant import QParams, QuantSpec

KEY = "gossamer.adopted"
BYTES = (np.dtype(np.uint8), np.dtype(np.int8))
MIDDLE = 128  # of a byte
POSITIVE = frozenset({"Relu", "Sigmoid", "Softmax", "Abs", "Exp", "HardSigmoid"})
KEEPS_SIGN = frozenset(
    {"MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Concat", "Add", "Reshape"}
    | {"Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Resize", "Pad", "Identity"}
)
OFF_GRID = 0.05  # of a step; float32 leaves far less
Numbers = Mapping[str, QParams]


@dataclass(kw_only=True, slots=True)
class _Found:
    """What is taken out of one graph.

    Attributes:
        graph: It.
        numbers: Of each value and weight.
        wanted: The names that weights had before they were stored.
        cut: By the value in front of a pair, the one whose negative numbers are cut off.
    """

    graph: ir.Graph
    numbers: dict[ir.Value, QParams] = field(default_factory=dict)
    wanted: dict[ir.Value, str] = field(default_factory=dict)
    cut: dict[ir.Value, ir.Value] = field(default_factory=dict)


def take_out(model: ir.Model) -> ir.Model:
    """`model` (edited in place) without pairs of Q and DQ, and with weights in float.

    A pair that cuts off negative numbers leaves a Relu, unless they cannot come: quantizers let it
    stand for one. Q and DQ that are no pair, of computed numbers or in blocks, stay.
    """
    found = _Found(graph=model.graph)
    for node in list(model.graph):
        if node.op_type == DEQUANTIZE:
            _take(found, node)
    if not found.numbers:
        return model
    RemoveUnusedNodesPass()(model)
    for value, name in found.wanted.items():
        if name not in model.graph.initializers:
            del model.graph.initializers[value.name or ""]
            value.name = name
            model.graph.register_initializer(value)
    for inner, outer in found.cut.items():
        is_inside = not inner.is_graph_output() and not outer.is_graph_output()
        if is_inside and len(inner.uses()) == 1:
            inner.name, outer.name = f"{inner.name}_uncut", inner.name
    model.graph.sort()
    known = {value.name or "": numbers for value, numbers in found.numbers.items()}
    model.metadata_props[KEY] = carried.dump(known)
    return model


def kept(model: ir.Model, plan: Plan) -> dict[str, QParams]:
    """The numbers that values and weights of the plan keep, as the target stores them.

    A value that the recipe sets something for has none. Values with one scale get the numbers of
    the first of them that has some.
    """
    known = carried.parse(model.metadata_props.get(KEY))
    if not known:
        return {}
    own = {name for name, _ in (*plan.specs, *plan.ranges)}
    found: dict[str, QParams] = {}
    groups = [*plan.groups, *({v} for v in plan.values)]
    for group in groups:
        names = [v for v in plan.values if v in group]
        first = next((v for v in names if v in known), None)
        is_asked = bool(own & group) or plan.activation.bits > 8
        if first is None or is_asked or group <= found.keys():
            continue
        is_zero_free = bool(group & {*plan.symmetric})
        numbers = _stored(known[first], plan.activation, is_zero_free=is_zero_free)
        if numbers is not None:
            found |= dict.fromkeys(names, numbers)
    for decision in plan.quantized:
        weight = decision.weight or ""
        if weight in known and weight not in own:
            fitting = _weight(model.graph, decision, known[weight], plan)
            if fitting is not None:
                found[weight] = fitting
    return found


def told(model: ir.Model, plan: Plan) -> Plan:
    """`plan` whose decisions say what of theirs is adopted; what is so is not smoothed."""
    known = carried.parse(model.metadata_props.get(KEY))
    if not known:
        return plan
    found = kept(model, plan)
    weights = {d.data for d in plan.quantized if d.weight in found}
    fixed = found.keys() | weights
    nodes = {node.name: node for node in model.graph}
    return replace(
        plan,
        decisions=tuple(_said(d, nodes[d.site], known, found) for d in plan.decisions),
        smoothed=tuple(v for v in plan.smoothed if v not in fixed),
        rescaled=tuple(v for v in plan.rescaled if v not in fixed),
    )


def take_up(model: ir.Model, trained: Mapping[str, QParams]) -> None:
    """Keep, in place, numbers of the simplified graph that its module was trained with, too."""
    if trained:
        known = carried.parse(model.metadata_props.get(KEY))
        model.metadata_props[KEY] = carried.dump(known | dict(trained))


def forget(model: ir.Model) -> dict[str, QParams]:
    """Take all numbers out of the metadata; what comes back are those of a training."""
    model.metadata_props.pop(KEY, None)
    return carried.parse(model.metadata_props.pop(carried.TRAINED, None))


def _said(decision: Decision, node: ir.Node, known: Numbers, found: Numbers) -> Decision:
    names = [*decision.inputs, *decision.outputs, decision.weight or ""]
    if not decision.is_quantized:
        names = [value.name or "" for value in node.inputs if value is not None]
    asked = dict.fromkeys(name for name in names if name in known or name in found)
    mine = [n for n in asked if n in found and decision.is_quantized]
    said = [n if _is_same(known, found, n) else f"{n} (in other steps)" for n in mine]
    clauses = [f"adopted: {', '.join(said)}"] if said else []
    lost = [n for n in asked if n not in mine]
    clauses += [f"not adopted: {', '.join(lost)}"] if lost else []
    return replace(decision, detail="; ".join([decision.detail, *clauses]))


def _is_same(known: Numbers, found: Numbers, name: str) -> bool:
    return name not in known or np.array_equal(known[name].scale, found[name].scale)


def _take(found: _Found, node: ir.Node) -> None:
    """Take one DQ out, with the Q in front of it if there is one."""
    numbers, source, out = numbers_of(node), node.inputs[0], node.outputs[0]
    if numbers is None or source is None:
        return
    integers, quantize = constant(source), source.producer()
    if integers is not None:
        _take_weight(found, node, numbers.dequantize(integers.numpy()), numbers)
        return
    if quantize is None or quantize.op_type != QUANTIZE:
        return
    before, inner = numbers_of(quantize), quantize.inputs[0]
    if before is None or inner is None or not _are_equal(before, numbers):
        return
    real = constant(inner)
    if real is None:
        _take_value(found, inner, out, numbers)
        return
    scale, zero = numbers.aligned(real.numpy().ndim)
    whole = np.clip(np.rint(real.numpy() / scale) + zero, *limits(numbers.zero_point.dtype))
    _take_weight(found, node, numbers.dequantize(whole), numbers)


def _take_weight(found: _Found, node: ir.Node, real: NDArray[np.float32], numbers: QParams) -> None:
    """Put what a stored weight stands for in the place of its DQ, and of a Transpose behind it."""
    source, out = node.inputs[0], node.outputs[0]
    if out.is_graph_output() or source is None:
        return
    quantize = source.producer()
    before = quantize.inputs[0] if quantize is not None else None
    wanted = (source if before is None else before).name or ""
    name = out.name or ""
    while len(out.uses()) == 1 and (reader := next(iter(out.uses())).node).op_type == "Transpose":
        turned = reader.attributes.get_ints("perm", tuple(reversed(range(real.ndim))))
        real = np.ascontiguousarray(real.transpose(turned))
        if numbers.axis is not None:
            numbers = replace(numbers, axis=list(turned).index(numbers.axis % real.ndim))
        out = reader.outputs[0]
    value = constant_input(found.graph, name, real)
    out.replace_all_uses_with(value)
    found.wanted[value] = wanted.removesuffix("_quantized")
    if numbers.zero_point.dtype in BYTES:
        found.numbers[value] = numbers


def _take_value(found: _Found, inner: ir.Value, out: ir.Value, numbers: QParams) -> None:
    value = found.cut.get(inner, inner)
    if numbers.axis is not None or numbers.zero_point.dtype.kind not in "ui":
        return
    lowest, _ = limits(numbers.zero_point.dtype)
    if value is inner and int(numbers.zero_point) == lowest and not _is_positive(inner):
        relu = ir.node("Relu", [inner], name=f"{inner.name}_cut")
        found.graph.append(relu)
        value = relu.outputs[0]
        value.name, value.shape, value.type = f"{inner.name}_positive", inner.shape, inner.type
        found.cut[inner] = value
    found.numbers.setdefault(value, numbers)
    name, is_output = out.name, out.is_graph_output()
    if is_output and (value.producer() is None or value.is_graph_output()):
        same = ir.node("Identity", [value], name=f"{name}_adopted")
        found.graph.append(same)
        value = same.outputs[0]
        value.shape, value.type = out.shape, out.type
    out.replace_all_uses_with(value, replace_graph_outputs=True)
    if is_output:
        out.name, value.name = f"{name}_dequantized", name


def _is_positive(value: ir.Value) -> bool:
    """Whether a value has no negative numbers, or is an input, whose data decides."""
    waiting, seen = [value], {value}
    while waiting:
        node = waiting.pop().producer()
        if node is None or node.op_type in POSITIVE:
            continue
        if node.op_type not in KEEPS_SIGN or not keeps_values(node):
            return False
        sources = [v for v in node.inputs[: None if node.op_type in {"Add", "Concat"} else 1] if v]
        if any(constant(v) is not None for v in sources):
            return False
        waiting += [v for v in sources if v not in seen]
        seen.update(sources)
    return True


def _are_equal(a: QParams, b: QParams) -> bool:
    return bool(
        np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
        and a.zero_point.dtype == b.zero_point.dtype
    )


def _stored(numbers: QParams, spec: QuantSpec, *, is_zero_free: bool) -> QParams | None:
    """The numbers of an activation as u8, or s8 with zero point 0; None where that loses some.

    Args:
        numbers: They.
        spec: How the target stores activations; one that stores s8 takes zero point 0 alone.
        is_zero_free: Whether the zero point must be 0, in either type.
    """
    if numbers.zero_point.dtype not in BYTES:
        return None
    shift = MIDDLE if numbers.zero_point.dtype == np.int8 else 0
    zero = int(numbers.zero_point) + shift
    if not spec.is_signed and (not is_zero_free or zero == 0):
        return replace(numbers, zero_point=np.array(zero, np.uint8))
    return replace(numbers, zero_point=np.array(0, np.int8)) if zero == MIDDLE else None


def _weight(graph: ir.Graph, decision: Decision, numbers: QParams, plan: Plan) -> QParams | None:
    """The numbers of a weight as s8 with zero point 0; coarser where 16-bit sums would overflow.

    None where it has zero points, another axis, more bits than asked for, or lies on that grid no
    longer.
    """
    shift = MIDDLE if numbers.zero_point.dtype == np.uint8 else 0
    tensor = constant(graph.initializers.get(decision.weight or ""))
    if tensor is None or (numbers.zero_point.astype(int) != shift).any():
        return None
    array = tensor.numpy()
    axis = numbers.axis if numbers.axis is None else numbers.axis % array.ndim
    fitting = (decision.weight_axis, array.shape[axis or 0])
    if axis is not None and (axis, numbers.scale.size) != fitting:
        return None
    zeros = np.zeros(numbers.scale.shape, np.int8)
    found = QParams(scale=numbers.scale, zero_point=zeros, axis=axis)
    whole = array / found.aligned(array.ndim)[0]
    spec = plan.weight_of(decision.weight)
    largest = MIDDLE if spec.bits == 8 else spec.qmax
    if np.abs(whole - np.rint(whole)).max() > OFF_GRID or np.abs(whole).max() > largest + OFF_GRID:
        return None
    if spec.accumulator != "s16":
        return found
    sums = pair_sums(np.rint(whole), decision.weight_axis)
    sums = sums if axis is not None else sums.max()
    steps = np.where(sums > PAIR, sums / (PAIR - 1), 1.0)
    return replace(found, scale=(numbers.scale * steps).astype(np.float32))
