"""What one site runs, cut out of the graph: as a model of its own in float32 and in int8.

Sites whose pieces have one signature run the same kernel on the same amount of numbers, so one of
them is timed for all: a transformer has six, whatever its depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from gossamer.graph import qdq
from gossamer.graph.match import activations, constant, sole_consumer
from gossamer.graph.weights import constant_input
from gossamer.plan import Decision, Plan
from gossamer.quant import QuantSpec, qparams

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
LONG = 16  # elements of a constant that a signature names one by one
RANGE = (-2.0, 2.0)  # of activations, which are drawn from a normal distribution


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """What one site runs.

    Attributes:
        decision: Of the site.
        nodes: The site with what its kernel absorbs, a constant bias behind it, and what stands
            between it and the Q/DQ of its inputs; in data order.
        inputs: Values that come from elsewhere.
        output: What it makes.
        signature: Pieces of one signature take the same time.
    """

    decision: Decision
    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    output: ir.Value
    signature: str


def pieces(graph: ir.Graph, plan: Plan, shapes: Shapes) -> Iterator[Piece]:
    """The piece of every int8 site that has a kernel of its own, in data order.

    There is none for operators that only move numbers, those that the kernel of another site adds
    in (`OpRule.beside`), and those of which a shape is not known.
    """
    nodes = {node.name or "": node for node in graph}
    order = {node: i for i, node in enumerate(graph)}
    for decision in plan.quantized:
        has_kernel = decision.weight is not None or (
            decision.outputs and not _passes_through(decision, plan)
        )
        found = _piece(nodes, order, decision, plan, shapes) if has_kernel else None
        if found is not None:
            yield found


def label(signature: str) -> str:
    """What a signature says to people: operators, shapes, strides and groups."""
    words = signature.split(" | ", maxsplit=1)[0].split(" ")
    told = ("group=", "strides=")
    plain = ("group=1", "strides=(1,1)", "strides=(1,)")
    return " ".join(w for w in words if "=" not in w or (w.startswith(told) and w not in plain))


def wanted_shapes(graph: ir.Graph, plan: Plan) -> tuple[str, ...]:
    """Names of the values whose shapes `pieces` and the prices of conversions ask for."""
    nodes = {node.name or "": node for node in graph}
    found: dict[str, None] = dict.fromkeys(plan.values)
    for decision in plan.quantized:
        for node in _members(nodes, decision):
            found |= {v.name or "": None for v in (*activations(node), *node.outputs)}
    return tuple(found)


def float_model(piece: Piece, model: ir.Model, shapes: Shapes) -> ir.Model:
    """The piece alone in float32; of its output only a few numbers come out.

    All of them would be copied into the caller's memory, which takes as long as small kernels do.
    """
    inputs = {v: _like(v, shapes) for v in piece.inputs}
    graph = ir.Graph(list(inputs.values()), [], nodes=[], opset_imports=dict(model.opset_imports))
    known = dict(inputs)
    for old in piece.nodes:
        operands = [_operand(graph, known, v) for v in old.inputs]
        node = ir.Node(
            old.domain, old.op_type, operands, old.attributes.values(),
            num_outputs=len(old.outputs), name=old.name,
        )  # fmt: skip
        for before, after in zip(old.outputs, node.outputs, strict=True):
            after.name, after.type = before.name, before.type
            sizes = shapes.get(before.name or "")
            after.shape = None if sizes is None else ir.Shape(sizes)
            known[before] = after
        graph.append(node)
    made = known[piece.output]
    graph.outputs.append(made)
    return ir.Model(graph, ir_version=model.ir_version)


def int8_model(piece: Piece, model: ir.Model, shapes: Shapes, plan: Plan) -> ir.Model:
    """The piece alone in int8: it reads and, where its kernel does, writes stored integers."""
    found = float_model(piece, model, shapes)
    decision = piece.decision
    alone = replace(plan, decisions=(decision,), shared=(), smoothed=(), rescaled=())
    symmetric = QuantSpec(dtype="s8", symmetric=True)
    behind = {decision.outputs[0]: _range_behind(piece.nodes[-1])} if decision.outputs else {}
    numbers = {
        v: qparams(*behind.get(v, RANGE), symmetric if v in plan.symmetric else plan.activation)
        for v in alone.values
    }
    written = qdq.write(found, alone, numbers)
    _store_borders(written.graph)
    return written


def shorten(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with a slice of its only output."""
    graph = model.graph
    (value,) = graph.outputs
    sizes = [] if value.shape is None else [int(str(d)) for d in value.shape]
    axis = int(np.argmax(sizes)) if sizes else 0
    first = constant_input(graph, "gossamer.first", np.array([0], np.int64))
    node = ir.node("Gather", [value, first], attributes={"axis": axis}, name="gossamer.slice")
    out = node.outputs[0]
    out.name, out.type = "gossamer.some", value.type
    graph.append(node)
    graph.outputs[0] = out
    return model


def conversion_model(elements: int, *, is_quantizing: bool) -> ir.Model:
    """A Q or a DQ alone, of so many numbers."""
    numbers = qparams(*RANGE, QuantSpec())
    kinds = (ir.DataType.FLOAT, ir.DataType.UINT8)
    before, after = kinds if is_quantizing else kinds[::-1]
    shape = ir.Shape((1, elements))
    given = ir.Value(name="x", shape=shape, type=ir.TensorType(before))
    graph = ir.Graph([given], [], nodes=[], opset_imports={"": 18})
    scale = constant_input(graph, "scale", numbers.scale)
    zero = constant_input(graph, "zero", numbers.zero_point)
    op = "QuantizeLinear" if is_quantizing else "DequantizeLinear"
    node = ir.node(op, [given, scale, zero], name="conversion")
    out = node.outputs[0]
    out.name, out.shape, out.type = "y", shape, ir.TensorType(after)
    graph.append(node)
    graph.outputs.append(out)
    return shorten(ir.Model(graph, ir_version=10))


def nothing_model() -> ir.Model:
    """A model that does next to nothing: what it takes, every call takes."""
    given = ir.Value(name="x", shape=ir.Shape((1, 8)), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([given], [given], nodes=[], opset_imports={"": 18})
    return shorten(ir.Model(graph, ir_version=10))


def _range_behind(node: ir.Node) -> tuple[float, float]:
    """What calibration finds behind a node; of Relu and Clip nothing that they cut off.

    Kernels take these in only where the stored numbers cannot tell the difference.
    """
    low, high = RANGE
    if node.op_type == "Relu":
        return 0.0, high
    if node.op_type == "Clip":
        limits = [constant(v) for v in node.inputs[1:3]]
        given = [None if t is None else float(t.numpy().item()) for t in limits]
        low = low if given[0] is None else max(low, given[0])
        high = high if len(given) < 2 or given[1] is None else min(high, given[1])
    return low, high


def _passes_through(decision: Decision, plan: Plan) -> bool:
    return (*decision.inputs, *decision.outputs) in plan.shared


def _members(nodes: Mapping[str, ir.Node], decision: Decision) -> tuple[ir.Node, ...]:
    """The nodes of a piece, in any order."""
    site = nodes[decision.site]
    bias = sole_consumer(site.outputs[0])
    behind = (bias,) if bias is not None and _adds_constant(bias) and not decision.fused else ()
    named = (*decision.through, *decision.fused)
    return (site, *(nodes[n] for n in named), *behind)


def _adds_constant(node: ir.Node) -> bool:
    return node.op_type == "Add" and len(activations(node)) == 1 and len(node.inputs) == 2


def _piece(
    nodes: Mapping[str, ir.Node],
    order: Mapping[ir.Node, int],
    decision: Decision,
    plan: Plan,
    shapes: Shapes,
) -> Piece | None:
    members = sorted({*_members(nodes, decision)}, key=lambda n: order[n])
    made = {v for node in members for v in node.outputs}
    inputs = tuple(dict.fromkeys(v for n in members for v in activations(n) if v not in made))
    output = members[-1].outputs[0]
    if decision.outputs:
        output = next((v for v in made if v.name == decision.outputs[0]), output)
    if any(v.name not in shapes for v in (*inputs, output)):
        return None
    if any(v.dtype not in (None, ir.DataType.FLOAT) for v in inputs):
        return None
    return Piece(
        decision=decision,
        nodes=tuple(members),
        inputs=inputs,
        output=output,
        signature=_signature(members, inputs, decision, plan, shapes),
    )


def _signature(
    members: Sequence[ir.Node],
    inputs: Sequence[ir.Value],
    decision: Decision,
    plan: Plan,
    shapes: Shapes,
) -> str:
    """Every node with its attributes and the shapes of what it reads; how numbers are stored."""
    parts = []
    for node in members:
        attributes = sorted(
            f"{a.name}={a.value}".replace(" ", "") for a in node.attributes.values()
        )
        operands = [_described(v, shapes) for v in node.inputs]
        parts.append(" ".join([node.op_type, *attributes, *operands]))
    weight = plan.weight
    stored = f"{plan.activation.dtype} x {weight.dtype} {weight.granularity} {weight.accumulator}"
    borders = ["int8" if v.name in decision.inputs else "float" for v in inputs]
    borders += ["to int8" if decision.outputs else "to float"]
    return " | ".join([" > ".join(parts), f"{stored}, {' '.join(borders)}"])


def _described(value: ir.Value | None, shapes: Shapes) -> str:
    if value is None:
        return "-"
    tensor = constant(value)
    if tensor is None:
        return "x".join(map(str, shapes.get(value.name or "", ())))
    array = tensor.numpy()
    if array.dtype.kind in "iu" and array.size <= LONG:
        return repr(array.tolist()).replace(" ", "")
    return f"({'x'.join(map(str, array.shape))})"


def _operand(
    graph: ir.Graph, known: dict[ir.Value, ir.Value], value: ir.Value | None
) -> ir.Value | None:
    tensor = constant(value)
    if value is None or tensor is None:
        return None if value is None else known[value]
    if value not in known:
        known[value] = constant_input(graph, value.name or "", tensor.numpy())
    return known[value]


def _like(value: ir.Value, shapes: Shapes) -> ir.Value:
    shape = ir.Shape(shapes[value.name or ""])
    return ir.Value(name=value.name, shape=shape, type=ir.TensorType(ir.DataType.FLOAT))


def _store_borders(graph: ir.Graph) -> None:
    """Let the graph read what its first Qs make, and give out what its last DQ reads."""
    for index, value in enumerate(tuple(graph.inputs)):
        readers = {use.node for use in value.uses()}
        quantize = next(iter(readers), None)
        if len(readers) != 1 or quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        stored = quantize.outputs[0]
        fresh = ir.Value(name=f"{value.name}_stored", shape=value.shape, type=stored.type)
        stored.replace_all_uses_with(fresh)
        graph.remove(quantize, safe=True)
        graph.inputs[index] = fresh
    (out,) = graph.outputs
    maker = out.producer()
    if maker is not None and maker.op_type == "DequantizeLinear" and maker.inputs[0] is not None:
        shape = out.shape
        graph.outputs[0] = maker.inputs[0]
        graph.outputs[0].shape = shape
        graph.remove(maker, safe=True)
