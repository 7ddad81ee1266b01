"""What some nodes get that others do not, as far as the target grants it.

A wish for activations goes to the values that a site reads in int8, and to all that share a scale
with one of them; a wish for weights to the weight of the site. Where several wishes meet, the last
one in the recipe counts: the general comes first, the special behind it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from gossamer import plugins
from gossamer.graph.select import select
from gossamer.plan import Decision, Plan, Reason
from gossamer.quant import QuantSpec
from gossamer.step import Override, RangeRule
from gossamer.target import TargetSpec

OF_WEIGHTS = frozenset({"granularity", "weight_bits"})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    """One field of one override.

    Attributes:
        number: Of the override, from 1.
        field: Its name.
        content: What is wished.
        refused: Why the target grants it nowhere.
    """

    number: int
    field: str
    content: object
    refused: str = ""

    def __str__(self) -> str:
        content = self.content
        if isinstance(content, RangeRule):
            ((name, options),) = plugins.dump(content).items()
            said = ", ".join(f"{option} {value}" for option, value in options.items())
            content = f"{name} with {said}" if said else name
        if isinstance(content, bool):
            content = "yes" if content else "no"
        return f"{self.field.replace('_', '-')} {content}"


def overridden(
    plan: Plan, graph: ir.Graph, overrides: Sequence[Override], target: TargetSpec
) -> Plan:
    """`plan` with what the overrides ask for; each node that one names says what became of it.

    Args:
        plan: Where nothing is overridden yet.
        graph: What it was made for.
        overrides: In the order of the recipe.
        target: What it was made for.

    Raises:
        RecipeError: A selector matches nothing.
    """
    asked: dict[str, list[_Wish]] = {}
    for number, override in enumerate(overrides, 1):
        for names in select(graph, override.nodes).values():
            for name in names:
                wishes = asked.setdefault(name, [])
                known = {(wish.number, wish.field) for wish in wishes}
                wishes += [
                    _Wish(
                        number=number,
                        field=field,
                        content=content,
                        refused=_unable(target, field, content),
                    )
                    for field, content in override.wishes.items()
                    if (number, field) not in known
                ]
    if not overrides:
        return plan
    won = _won(plan, asked)
    specs = {name: _spec(plan, name, won) for name, field in won if field != "ranges"}
    ranges = {
        name: wish.content for (name, _), wish in won.items() if isinstance(wish.content, RangeRule)
    }
    return replace(
        plan,
        decisions=tuple(_told(plan, graph, asked, won)),
        specs=tuple(specs.items()),
        ranges=tuple(ranges.items()),
        smoothed=tuple(v for v in plan.smoothed if v not in ranges),
        rescaled=tuple(v for v in plan.rescaled if v not in ranges),
    )


def _unable(target: TargetSpec, field: str, content: object) -> str:
    if field == "activation_bits" and content not in target.activation_bits:
        return f"{target.name} does not run such Q/DQ as they are written"
    if field == "symmetric" and content is False and target.activation.symmetric:
        return f"{target.name} takes zero point 0 alone"
    return ""


Asked = dict[str, list[_Wish]]
Won = dict[tuple[str, str], _Wish]


def _won(plan: Plan, asked: Asked) -> Won:
    """The last wish for each value or weight, by its name and the field."""
    won: Won = {}
    for decision in plan.quantized:
        for wish in asked.get(decision.site, ()):
            for name in () if wish.refused else _operands(plan, decision, wish):
                before = won.setdefault((name, wish.field), wish)
                won[name, wish.field] = max(before, wish, key=lambda each: each.number)
    return won


def _operands(plan: Plan, decision: Decision, wish: _Wish) -> tuple[str, ...]:
    """What a wish for a site is about."""
    if wish.field in OF_WEIGHTS:
        return () if decision.weight is None else (decision.weight,)
    found = dict.fromkeys(decision.inputs)
    for group in plan.groups:
        if group & set(decision.inputs):
            found |= dict.fromkeys(v for v in plan.values if v in group)
    return tuple(found)


def _spec(plan: Plan, name: str, won: Won) -> QuantSpec:
    """How a value or weight is stored by what was won for it."""
    wishes = {field: wish.content for (about, field), wish in won.items() if about == name}
    if wishes.keys() & OF_WEIGHTS:
        renamed = {"weight_bits": "bits", "granularity": "granularity"}
        changes = {renamed[field]: content for field, content in wishes.items()}
        return replace(plan.weight, **changes)  # type: ignore[arg-type] # Override has the types
    is_symmetric = bool(wishes.get("symmetric", plan.activation.symmetric))
    spec = replace(plan.activation, symmetric=is_symmetric)
    bits = wishes.get("activation_bits")
    return spec.of_width(bits) if isinstance(bits, int) else spec


def _told(plan: Plan, graph: ir.Graph, asked: Asked, won: Won) -> Iterator[Decision]:
    """The decisions, one more for each named node that had none, with what became of wishes."""
    known = {d.site: d for d in plan.decisions}
    inside = {member: d.site for d in plan.quantized for member in (*d.fused, *d.through)}
    for node in graph:
        name = node.name or ""
        decision, wishes = known.get(name), asked.get(name, [])
        if decision is not None and (decision.is_quantized or not wishes):
            said = _fates(plan, decision, wishes, won)
            yield replace(decision, detail="; ".join([decision.detail, *said]))
        elif wishes:
            numbers = ", ".join(dict.fromkeys(str(wish.number) for wish in wishes))
            where = f"it is a part of {inside[name]}" if name in inside else "nothing is stored"
            if decision is None:
                decision = Decision(site=name, op=node.op_type, reason=Reason.NO_RULE)
            before = [decision.detail] if decision.detail else []
            detail = "; ".join([*before, f"override {numbers} does nothing here: {where}"])
            yield replace(decision, detail=detail)


def _fates(plan: Plan, decision: Decision, wishes: Sequence[_Wish], won: Won) -> Iterator[str]:
    """What became of the wishes for an int8 site, a clause for each override."""
    for number, each in itertools.groupby(wishes, lambda wish: wish.number):
        said = ", ".join(
            f"not {wish} ({why})" if (why := _refused(plan, decision, wish, won)) else str(wish)
            for wish in each
        )
        yield f"override {number}: {said}"


def _refused(plan: Plan, decision: Decision, wish: _Wish, won: Won) -> str:
    """Why a wish is not granted, as a clause; empty if it is."""
    if wish.refused:
        return wish.refused
    operands = _operands(plan, decision, wish)
    if not operands:
        return "it has no weight" if wish.field in OF_WEIGHTS else "it reads nothing in int8"
    if wish.content == "per-channel" and decision.weight_axis is None:
        return "groups share the output channels"
    if wish.field == "symmetric" and set(operands) & set(plan.symmetric):
        return "the kernel takes zero point 0 alone: s8, or u8 of what is never negative"
    others = {
        name: other for name in operands if (other := won[name, wish.field]).content != wish.content
    }
    return ", ".join(f"{name} has {o} of override {o.number}" for name, o in others.items())
