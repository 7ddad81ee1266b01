"""Wish x ability -> Plan: a pure function that decides, with a reason, about every site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from gossamer.errors import PlanError
from gossamer.graph import smooth
from gossamer.graph.match import (
    Tail,
    activations,
    constant,
    keeps_values,
    origin,
    sole_consumer,
    tail,
)
from gossamer.graph.refuse import Refusal, read_by_bodies, refusal, weight_axis
from gossamer.plan import Decision, Plan, Reason
from gossamer.target import OpRule, TargetSpec

ELEMENTWISE = frozenset({"Add", "Mul", "Sub", "Div"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a step wants.

    Attributes:
        cpu: Weakest CPU level on which the result must be right.
        exclude: Why sites stay in float, by name.
        is_uniform: Whether every operator that has an int8 kernel gets it, if it pays or not.
    """

    cpu: str = "portable"
    exclude: Mapping[str, Refusal] = field(default_factory=dict)
    is_uniform: bool = False


@dataclass(slots=True)
class _State:
    """What is known while walking the graph in data order."""

    target: TargetSpec
    wish: Wish
    order: dict[ir.Node, int]
    decisions: dict[str, Decision] = field(default_factory=dict)
    made: set[ir.Value] = field(default_factory=set)  # written in int8
    read: set[ir.Value] = field(default_factory=set)  # read in int8 by a node with weights
    fused: dict[ir.Node, str] = field(default_factory=dict)
    shared: list[tuple[str, ...]] = field(default_factory=list)
    symmetric: dict[str, None] = field(default_factory=dict)

    def refuse(self, node: ir.Node, reason: Reason, detail: str) -> None:
        self.decide(node, reason=reason, detail=detail)

    def decide(self, node: ir.Node, **fields: object) -> None:
        name = node.name or ""
        self.decisions[name] = Decision(site=name, op=node.op_type, **fields)  # type: ignore[arg-type]


def place(model: ir.Model, target: TargetSpec, wish: Wish) -> Plan:
    """The plan for `model` on `target`; the model is only read.

    1. A node with an int8 rule is quantized when it has its constant weight, is large enough to
       pay on this target and is not excluded. Its activation inputs get Q/DQ, on a target that
       hoists above the nodes that only move numbers. If the kernel must write int8, so does the
       value behind the tail that the kernel absorbs.
    2. A node that the target can run on int8 values without a weight (Add, Concat, pooling …)
       follows when its activation inputs are int8 already and an int8 site reads the result.
    3. A node through which Q/DQ pass (MaxPool, Reshape …) keeps the numbers of its input.
    4. Everything else stays in float, with the reason.

    A uniform wish asks neither for sizes nor for neighbours: what 1. and 2. name runs in int8.

    Nodes inside the branches of If and the bodies of Loop stay as they are.

    Raises:
        PlanError: Two nodes have one name, or one has none: sites are known by their names.
    """
    nodes = list(model.graph)
    names = {n.name for n in nodes if n.name}
    if len(names) < len(nodes):
        raise PlanError(
            "a name of its own on every node",
            f"{len(names)} names for {len(nodes)} nodes",
            "Run the step simplify first: it names them.",
        )
    wish = replace(wish, exclude={**read_by_bodies(nodes, target), **wish.exclude})
    state = _State(target=target, wish=wish, order={n: i for i, n in enumerate(nodes)})
    rules = {op: rule for rule in target.rules for op in rule.ops}
    _claim_tails(nodes, rules, state)
    _find_readers(nodes, rules, state)
    for node in nodes:
        rule = rules.get(node.op_type)
        if rule is not None and not node.domain:
            _place_ruled(node, rule, state)
        elif node not in state.fused and not node.domain:
            _place_follower(node, state)
    if target.nonzero_bias:
        _guard_biases(nodes, state)
    plan = Plan(
        target=target.name,
        cpu=wish.cpu,
        activation=target.activation,
        weight=replace(target.weight, accumulator=target.accumulator(wish.cpu)),
        decisions=tuple(_pruned(nodes, state)),
        shared=tuple(state.shared),
        symmetric=tuple(state.symmetric),
    )
    multiplied = smooth.multiplied_values(nodes, plan) if target.smooths else ()
    rescaled = tuple(v for v in smooth.rescaled(nodes, plan) if v not in multiplied)
    return replace(plan, smoothed=(*multiplied, *rescaled), rescaled=rescaled)


def _claim_tails(nodes: list[ir.Node], rules: dict[str, OpRule], state: _State) -> None:
    """Later nodes first: of two branches that meet, the later absorbs what is behind."""
    for node in reversed(nodes):
        rule = rules.get(node.op_type)
        if rule is not None and _why_float(node, rule, state) is None:
            for member in _tail(node, rule.tails, state).nodes:
                state.fused.setdefault(member, node.name or "")


def _find_readers(nodes: list[ir.Node], rules: dict[str, OpRule], state: _State) -> None:
    """Note the values that nodes with weights will read in int8, through what keeps values."""
    for node in nodes:
        rule = rules.get(node.op_type)
        if rule is None or not rule.has_weight or _why_float(node, rule, state) is not None:
            continue
        value = node.inputs[0]
        if value is not None:
            source, through = origin(value, state.target.transparent)
            state.read |= {value, source, *(n.outputs[0] for n in through)}


def _why_float(node: ir.Node, rule: OpRule, state: _State) -> Refusal | None:
    excluded = state.wish.exclude.get(node.name or "")
    return excluded or refusal(node, rule, any_size=state.wish.is_uniform)


def _place_ruled(node: ir.Node, rule: OpRule, state: _State) -> None:
    refused = _why_float(node, rule, state)
    if refused is not None:
        state.refuse(node, *refused)
        return
    behind = _own_tail(node, rule, state)
    weight = node.inputs[rule.weight_operand] if rule.has_weight else None
    operand, operands = node.inputs[0], _read_in_int8(node, rule, state)
    if not operands:
        state.refuse(node, Reason.NOT_INT8_NEIGHBOUR, f"no int8 {rule.beside[0]} beside int8")
        return
    inputs, through = _hoisted((*operands, *behind.residuals), state)
    if rule.zero_free:
        state.symmetric |= dict.fromkeys(inputs)
    if rule.output == "required":
        state.made.add(behind.output)
    rank = len(weight.shape) if weight is not None and weight.shape is not None else 0
    state.decide(
        node,
        reason=Reason.QUANTIZED,
        detail=rule.evidence,
        inputs=inputs,
        outputs=(behind.output.name or "",) if rule.output == "required" else (),
        data=operand.name if weight is not None and operand is not None else None,
        weight=weight.name if weight is not None else None,
        weight_axis=weight_axis(node, rank) if weight is not None else None,
        bias=_int_bias(node, rule),
        fused=tuple(n.name or "" for n in behind.nodes),
        through=through,
        apart=_adds_behind(node) if rule.keeps_apart else (),
    )


def _own_tail(node: ir.Node, rule: OpRule, state: _State) -> Tail:
    """The tail of a node, unless a later node has absorbed a part of it."""
    found = _tail(node, rule.tails, state)
    if all(state.fused.get(n) == node.name for n in found.nodes):
        return found
    return Tail(nodes=(), residuals=(), output=node.outputs[0])


def _tail(node: ir.Node, patterns: tuple[str, ...], state: _State) -> Tail:
    """The tail of a node; none where it holds a node that is to stay in float."""
    found = tail(node, patterns, state.order)
    if any((n.name or "") in state.wish.exclude for n in found.nodes):
        return Tail(nodes=(), residuals=(), output=node.outputs[0])
    return found


def _read_in_int8(node: ir.Node, rule: OpRule, state: _State) -> tuple[ir.Value, ...]:
    """The activation operands that get Q/DQ; none where the rule's neighbour is missing.

    Beside a node that makes one operand straight, the other one is read in int8 where others read
    it in int8, or where it comes straight from such a node too and nothing else reads it. Elsewhere
    a Q would cost a kernel and bits (the stem of ConvNeXt), but for targets that need it to join
    the two nodes at all.
    """
    operands = activations(node) if not rule.has_weight else activations(node)[:1]
    if not rule.beside:
        return operands
    straight = [v for v in operands if _is_made_by(v, rule.beside, state)]
    if not straight:
        return ()
    single = [v for v in straight if len(v.uses()) == 1]
    kept = single[0] if len(single) == 1 else straight[-1]
    is_joined = rule.always_beside and kept in single
    others = (v for v in operands if v is not kept)
    return tuple(v for v in others if is_joined or v in single or _is_read(v, state))


def _is_read(value: ir.Value, state: _State) -> bool:
    """Whether a node with weights reads `value`, or what it is moved from, in int8."""
    source, _ = origin(value, state.target.transparent)
    return value in state.read or (state.target.hoists and source in state.read)


def _is_made_by(value: ir.Value, ops: tuple[str, ...], state: _State) -> bool:
    producer = value.producer()
    if producer is None or producer.op_type not in ops:
        return False
    decision = state.decisions.get(producer.name or "")
    return decision is not None and decision.is_quantized


def _hoisted(
    values: tuple[ir.Value, ...], state: _State
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the Q/DQ of `values` stand, and the nodes in between."""
    inputs: dict[str, None] = {}
    through: dict[str, None] = {}
    for value in values:
        source, nodes = value, tuple[ir.Node, ...]()
        if state.target.hoists:
            source, nodes = origin(value, state.target.transparent)
            if _is_attention(source.producer()):  # a Q there would break up the fused attention
                source, nodes = value, ()
        inputs[source.name or ""] = None
        through |= dict.fromkeys(n.name or "" for n in nodes)
    return tuple(inputs), tuple(through)


def _is_attention(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "MatMul" and len(activations(node)) == 2


def _adds_behind(node: ir.Node) -> tuple[str, ...]:
    """An Add of a constant that alone reads the node; of two activations it is no bias."""
    behind = sole_consumer(node.outputs[0])
    if behind is None or behind.op_type != "Add" or len(activations(behind)) != 1:
        return ()
    return (behind.name or "",)


def _int_bias(node: ir.Node, rule: OpRule) -> str | None:
    """The bias that is stored in int32: one number for each output channel."""
    if not rule.int_bias or node.op_type not in {"Conv", "Gemm"} or len(node.inputs) < 3:
        return None
    bias = node.inputs[2]
    tensor = constant(bias)
    if bias is None or tensor is None or len(tensor.shape) != 1:
        return None
    return bias.name


def _place_follower(node: ir.Node, state: _State) -> None:
    target, inputs = state.target, activations(node)
    if not inputs or target.hoists:
        return
    if node.op_type in target.transparent:
        _pass_through(node, inputs[0], state)
        return
    if node.op_type not in target.follows:
        return
    if excluded := state.wish.exclude.get(node.name or ""):
        state.refuse(node, *excluded)
    elif not _follows(node, inputs, state):
        state.refuse(node, Reason.NOT_INT8_NEIGHBOUR, "not every operand is int8 already")
    else:
        _follow(node, inputs, state)


def _pass_through(node: ir.Node, source: ir.Value, state: _State) -> None:
    if source not in state.made or not keeps_values(node) or len(node.outputs) != 1:
        return
    if excluded := state.wish.exclude.get(node.name or ""):
        state.refuse(node, *excluded)
        return
    names = (source.name or "", node.outputs[0].name or "")
    state.made.add(node.outputs[0])
    state.shared.append(names)
    state.decide(
        node,
        reason=Reason.QUANTIZED,
        detail="passes int8 values through",
        inputs=names[:1],
        outputs=names[1:],
    )


def _follows(node: ir.Node, inputs: tuple[ir.Value, ...], state: _State) -> bool:
    """All operands int8; for two-operand nodes, one made in int8 and one read in int8 anyway."""
    if state.wish.is_uniform:
        is_float = all(v.dtype is ir.DataType.FLOAT for v in inputs)
        return is_float and (node.op_type not in ELEMENTWISE or len(inputs) == 2)
    if node.op_type not in ELEMENTWISE:
        return all(v in state.made for v in inputs)
    made = [v in state.made for v in inputs]
    both = len(inputs) == 2 and all(m or v in state.read for m, v in zip(made, inputs, strict=True))
    return both and any(made)


def _follow(node: ir.Node, inputs: tuple[ir.Value, ...], state: _State) -> None:
    target, name = state.target, node.name or ""
    behind = _tail(node, target.follower_tails, state)
    if any(n in state.fused for n in behind.nodes):
        behind = Tail(nodes=(), residuals=(), output=node.outputs[0])
    state.fused |= dict.fromkeys(behind.nodes, name)
    state.made.add(behind.output)
    state.decide(
        node,
        reason=Reason.QUANTIZED,
        detail="all operands are int8",
        inputs=tuple(v.name or "" for v in inputs),
        outputs=(behind.output.name or "",),
        fused=tuple(n.name or "" for n in behind.nodes),
    )


def _guard_biases(nodes: list[ir.Node], state: _State) -> None:
    """Mark each int8 Conv without a bias whose output has several readers.

    Readers in int8 count once: they share one Q. Who runs the graph reads its outputs.
    """
    reads = {
        (member, value)
        for d in state.decisions.values()
        for member in (d.site, *d.fused, *d.through)
        for value in d.inputs
        if d.is_quantized
    }
    for node in nodes:
        decision = state.decisions.get(node.name or "")
        if decision is None or not decision.is_quantized or node.op_type != "Conv":
            continue
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if bias is not None and bias.numpy().any():
            continue
        out = node.outputs[0]
        readers = {"Q" if (u.node.name, out.name) in reads else u.node.name for u in out.uses()}
        if len(readers) + out.is_graph_output() > 1:
            state.decisions[decision.site] = replace(decision, nonzero_bias=True)


def _pruned(nodes: list[ir.Node], state: _State) -> Iterator[Decision]:
    """Decisions in order; a follower or pass-through that no int8 site reads goes back to float."""
    wanted: set[str] = set()
    kept: dict[str, Decision] = {}
    for node in reversed(nodes):
        decision = state.decisions.get(node.name or "")
        if decision is None:
            continue
        is_ruled = decision.weight is not None or not decision.outputs
        if state.wish.is_uniform:
            is_ruled = decision.op not in state.target.transparent
        if decision.is_quantized and not is_ruled and not wanted & set(decision.outputs):
            decision = replace(
                decision,
                reason=Reason.NOT_INT8_NEIGHBOUR,
                detail="nothing behind it runs in int8",
                inputs=(),
                outputs=(),
                fused=(),
            )
        kept[decision.site] = decision
        wanted |= set(decision.inputs)
    for node in nodes:
        if (node.name or "") in kept:
            yield kept[node.name or ""]
