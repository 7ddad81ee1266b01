"""The step `quantize-static`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gossamer.graph import qdq
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.passes.repeated_relu import repeated_relu
from gossamer.graph.place import Wish, place
from gossamer.graph.refuse import Refusal
from gossamer.graph.select import kept_float
from gossamer.graph.smooth import extremes, factors
from gossamer.plan import Plan, Reason
from gossamer.quant import QParams, QuantSpec, qparams
from gossamer.step import GraphContext, GraphStep, RangeRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from gossamer.statistics import Statistics

SYMMETRIC = QuantSpec(dtype="s8", symmetric=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeStatic(GraphStep):
    """int8 weights and activations with ranges fixed by calibration.

    Biases take back the mean error of rounded weights (`gossamer.graph.bias`); where it costs
    nothing, activations are smoothed (`gossamer.graph.smooth`).

    Attributes:
        ranges: Rule that chooses activation ranges from the calibration statistics.
        exclude: Nodes that stay in float, as `gossamer.graph.select` finds them.
        reverted: Names of sites that stay in float because they cost too much accuracy.
    """

    ranges: RangeRule = field(default_factory=MinMax)
    exclude: tuple[str, ...] = ()
    reverted: tuple[str, ...] = ()

    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:
        """The model with Q/DQ where the target's rules and this wish agree.

        Raises:
            RecipeError: A selector of `exclude` matches nothing.
        """
        excluded = kept_float(model.graph, self.exclude, self.reverted)
        wish = Wish(cpu=context.cpu, exclude=excluded)
        plan = place(model, context.target, wish)
        statistics = context.calibration.statistics(plan.values)
        plan = _calibrated(model, plan, context, wish, statistics)
        smoothing = factors(model.graph, plan, statistics, self.ranges)
        plan = replace(
            plan,
            smoothed=tuple(smoothing),
            rescaled=tuple(v for v in plan.rescaled if v in smoothing),
        )
        context.record(plan)
        numbers = parameters(plan, statistics, self.ranges, smoothing)
        means = {name: channels.mean for name, channels in statistics.channels.items()}
        return repeated_relu(qdq.write(model, plan, numbers, smoothing, means))


def parameters(
    plan: Plan,
    statistics: Statistics,
    ranges: RangeRule,
    smoothing: Mapping[str, NDArray[np.float32]],
) -> dict[str, QParams]:
    """Scale and zero point of every value in the plan.

    Smoothed values keep what was observed of their channels, whatever the rule: a range that cut
    something off would cut it off every channel.

    Values that must share numbers get the union of their ranges. A value whose zero point must be
    0 is u8 where it is never negative, and symmetric s8 where it is.
    """
    symmetric = frozenset(plan.symmetric)
    specs = dict.fromkeys(plan.values, plan.activation)
    for group in (*_joined(plan), *({v} for v in plan.values)):
        if group & symmetric and any(statistics.tensor(v).low < 0 for v in group):
            specs.update(dict.fromkeys(group, SYMMETRIC))
    found = {
        v: ranges.range(statistics.tensor(v), symmetric=spec.symmetric)
        for v, spec in specs.items()
        if v not in smoothing
    }
    found |= {
        v: extremes(statistics.tensor(v), statistics.channels[v], each)
        for v, each in smoothing.items()
    }
    for group in _joined(plan):
        low = min(found[v][0] for v in group)
        high = max(found[v][1] for v in group)
        found.update(dict.fromkeys(group, (low, high)))
    return {v: qparams(low, high, specs[v]) for v, (low, high) in found.items()}


def _joined(plan: Plan) -> list[set[str]]:
    """Groups of values with one scale, merged where they overlap."""
    values = set(plan.values)
    groups: list[set[str]] = []
    for members in plan.shared:
        merged = set(members) & values
        rest = []
        for group in groups:
            if group & merged:
                merged |= group
            else:
                rest.append(group)
        groups = [*rest, merged] if merged else rest
    return groups


def _calibrated(
    model: ir.Model, plan: Plan, context: GraphContext, wish: Wish, statistics: Statistics
) -> Plan:
    """The plan without the sites whose values calibration never saw, each with that reason.

    What takes a site out can make another site read another value, so it goes on until every
    value is known; each round takes out at least one site.
    """
    uncalibrated: dict[str, Refusal] = {}
    while unknown := {v for v in plan.values if v not in statistics.tensors}:
        uncalibrated |= {
            d.site: (Reason.UNCALIBRATED, "calibration did not observe it")
            for d in plan.quantized
            if unknown & {*d.inputs, *d.outputs}
        }
        exclude = {**wish.exclude, **uncalibrated}
        plan = place(model, context.target, replace(wish, exclude=exclude))
    return plan
