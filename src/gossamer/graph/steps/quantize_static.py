"""The step `quantize-static`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from gossamer.errors import TargetError
from gossamer.graph import adopted, empirical, hessians, qdq
from gossamer.graph.equalize import equalizing_factors
from gossamer.graph.layout import CHANNEL_AXES
from gossamer.graph.narrow import told
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.overrides import overridden
from gossamer.graph.passes.repeated_relu import repeated_relu
from gossamer.graph.place import Wish, place
from gossamer.graph.qoperator import to_qoperators
from gossamer.graph.refuse import Refusal
from gossamer.graph.rounder import Rounder
from gossamer.graph.roundings.nearest import Nearest
from gossamer.graph.select import kept_float
from gossamer.graph.smooth import extremes, factors, rescaled
from gossamer.plan import Plan, Reason
from gossamer.quant import QParams, QuantSpec, qparams
from gossamer.step import GraphContext, GraphStep, Override, RangeRule, Rounding

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from gossamer.statistics import Statistics
    from gossamer.target import TargetSpec

Smoothing = Literal["none", "smoothquant", "cross-layer"]
Correction = Literal["none", "analytic", "empirical"]
Placement = Literal["profitable", "uniform"]
SLOW = "int8 took longer where the recipe was made"
SYMMETRIC = QuantSpec(dtype="s8", symmetric=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeStatic(GraphStep):
    """int8 weights and activations with ranges fixed by calibration.

    What its options do for accuracy, and when they pay, is in docs/algorithms.md.

    Attributes:
        ranges: Rule that chooses activation ranges from the calibration statistics.
        rounding: How weights become integers (`gossamer.graph.rounder`); one that asks for data
            runs the float model over the calibration samples once more.
        weight_bits: Of the signed numbers that weights are stored as, 2 to 8; always one in a byte.
        activation_bits: Of activations, 8 or 16. No kernel of ours multiplies 16 bits: sites run in
            float between their Q/DQ, slower than float, in a file for devices that do.
        smoothing: What evens out the channels of activations, where it costs nothing at run time:
            `smoothquant` by what was observed (`gossamer.graph.smooth`), `cross-layer` by weights
            alone (`gossamer.graph.equalize`), or `none`.
        correction: What takes the mean error of rounding back in biases: `analytic`, for rounded
            weights, from mean inputs (`gossamer.graph.bias`); `empirical`, for everything in front
            of a bias, by running both models (`gossamer.graph.empirical`); or `none`.
        format: `qdq`, or `qoperator`: quantized operators where the runtime makes them of Q/DQ
            anyway (`gossamer.graph.qoperator`).
        adopt: Whether values and weights keep the numbers that the model came with, if it came with
            Q/DQ (`gossamer.graph.adopted`).
        overrides: What some nodes get that others do not; where several name one node, or nodes
            that read one value, the last counts (`gossamer.graph.overrides`).
        exclude: Nodes that stay in float, as `gossamer.graph.select` finds them.
        reverted: Names of sites that stay in float because they cost too much accuracy.
        placement: Which operators get an int8 kernel: those for which the target says that it pays
            (`profitable`), or every one that has such a kernel (`uniform`).
        slow: Names of sites that stay in float because int8 takes longer there, as measured where
            the recipe was made (`gossamer profile`).
    """

    ranges: RangeRule = field(default_factory=MinMax)
    rounding: Rounding = field(default_factory=Nearest)
    weight_bits: int = 8
    activation_bits: Literal[8, 16] = 8
    smoothing: Smoothing = "smoothquant"
    correction: Correction = "analytic"
    format: Literal["qdq", "qoperator"] = "qdq"
    adopt: bool = True
    overrides: tuple[Override, ...] = ()
    exclude: tuple[str, ...] = ()
    reverted: tuple[str, ...] = ()
    placement: Placement = "profitable"
    slow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        replace(SYMMETRIC, bits=self.weight_bits)  # which refuses others

    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:
        """The model with Q/DQ where the target's rules and this wish agree.

        Raises:
            RecipeError: A selector matches nothing, or the rounding does not fit int8 kernels.
            TargetError: The target has no rules, or does not run activations of so many bits or
                this format.
        """
        if not context.target.rules:
            raise TargetError(
                "a target with int8 kernels for stored activations",
                context.target.name,
                "Use quantize-weights.",
            )
        plan, statistics = self.calibrated(model, context)
        smoothing = self._factors(model.graph, plan, statistics)
        plan = replace(
            plan,
            smoothed=tuple(smoothing),
            rescaled=tuple(v for v in self._foldable(model.graph, plan) if v in smoothing),
        )
        context.record(told(model, plan, smoothing))
        numbers = parameters(plan, statistics, self.ranges, smoothing)
        numbers |= adopted.kept(model, plan) if self.adopt else {}
        adopted.forget(model)
        means = {name: channels.mean for name, channels in statistics.channels.items()}
        is_empirical = self.correction == "empirical"
        feeds = context.calibration.feeds
        reference = empirical.observe(model, plan, feeds(), smoothing) if is_empirical else None
        with self._rounder(model, plan, context) as rounder:
            corrected = means if self.correction == "analytic" else None
            written = qdq.write(model, plan, numbers, smoothing, corrected, rounder)
        if reference is not None:
            empirical.correct(written, reference, context.target.runtime)
        written = repeated_relu(written)
        return to_qoperators(written) if self.format == "qoperator" else written

    def placed(
        self,
        model: ir.Model,
        target: TargetSpec,
        cpu: str,
        unseen: Mapping[str, Refusal] | None = None,
    ) -> Plan:
        """What this step would do at every site of `model`, which is only read.

        Args:
            model: The float graph.
            target: Where it will run.
            cpu: Weakest CPU level on which the result must be right.
            unseen: Why more sites stay in float, by name.

        Raises:
            RecipeError: A selector matches nothing.
            TargetError: The target does not run activations of so many bits, or this format.
        """
        if self.activation_bits not in target.activation_bits:
            raise TargetError(
                f"a target that runs activations of {self.activation_bits} bits",
                target.name,
                "It leaves such Q/DQ out. Use 8 bits, or the target ort-cpu.",
            )
        if self.format == "qoperator" and not target.qoperators:
            raise TargetError(
                "a target that runs quantized operators", target.name, "Use the format qdq."
            )
        slow: dict[str, Refusal] = dict.fromkeys(self.slow, (Reason.REVERTED_LATENCY, SLOW))
        kept = kept_float(model.graph, self.exclude, self.reverted)
        excluded = slow | kept | dict(unseen or {})
        is_uniform = self.placement == "uniform"
        plan = place(model, target, Wish(cpu=cpu, exclude=excluded, is_uniform=is_uniform))
        plan = replace(
            plan,
            activation=plan.activation.of_width(self.activation_bits),
            weight=replace(plan.weight, bits=self.weight_bits),
        )
        plan = overridden(_rounded(plan, self.rounding), model.graph, self.overrides, target)
        return adopted.told(model, plan) if self.adopt else plan

    def calibrated(self, model: ir.Model, context: GraphContext) -> tuple[Plan, Statistics]:
        """The plan without the sites whose values calibration never saw, each with that reason.

        What takes a site out can make another site read another value, so it goes on until every
        value is known; each round takes out at least one site.

        Raises:
            RecipeError: A selector matches nothing.
            TargetError: The target does not run activations of so many bits, or this format.
        """
        plan = self.placed(model, context.target, context.cpu)
        statistics = context.calibration.statistics(plan.values)
        if self.placement == "uniform" and context.calibration.everywhere is not None:
            statistics = statistics.joined(context.calibration.everywhere())
        unseen: dict[str, Refusal] = {}
        while unknown := {v for v in plan.values if v not in statistics.tensors}:
            unseen |= {
                d.site: (Reason.UNCALIBRATED, "calibration did not observe it")
                for d in plan.quantized
                if unknown & {*d.inputs, *d.outputs}
            }
            plan = self.placed(model, context.target, context.cpu, unseen)
        return plan, statistics

    def _foldable(self, graph: ir.Graph, plan: Plan) -> tuple[str, ...]:
        """Names of the values whose makers can take factors in."""
        return rescaled(tuple(graph), plan) if self.smoothing == "cross-layer" else plan.rescaled

    def _factors(
        self, graph: ir.Graph, plan: Plan, statistics: Statistics
    ) -> dict[str, NDArray[np.float32]]:
        """What the channels of each smoothed value are multiplied by."""
        match self.smoothing:
            case "none":
                return {}
            case "smoothquant":
                return factors(graph, plan, statistics, self.ranges)
            case "cross-layer":
                names = self._foldable(graph, plan)
                return equalizing_factors(graph, plan, names, statistics.channels)

    @contextmanager
    def _rounder(self, model: ir.Model, plan: Plan, context: GraphContext) -> Iterator[Rounder]:
        if not self.rounding.needs_hessian:
            yield Rounder(rounding=self.rounding)
            return
        sites = [d.site for d in plan.quantized if d.weight is not None]
        with hessians.opened(model, sites, context.calibration.feeds) as found:
            yield Rounder(rounding=self.rounding, hessians=found)


def _rounded(plan: Plan, rounding: Rounding) -> Plan:
    """The plan in which sites say so where their weights cannot be rounded by this rounding."""
    if isinstance(rounding, Nearest):
        return plan
    detail = "weights rounded to nearest: their layout is not known"
    decisions = (
        replace(d, detail=f"{d.detail}; {detail}")
        if d.is_quantized and d.weight is not None and d.op not in CHANNEL_AXES
        else d
        for d in plan.decisions
    )
    return replace(plan, decisions=tuple(decisions))


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
    specs = {v: plan.activation_of(v) for v in plan.values}
    for group in (*plan.groups, *({v} for v in plan.values)):
        if group & symmetric:
            is_negative = any(statistics.tensor(v).low < 0 for v in group)
            specs |= {v: _zero_free(specs[v], is_negative=is_negative) for v in group}
    rules = dict(plan.ranges)
    found = {
        v: rules.get(v, ranges).range(statistics.tensor(v), symmetric=spec.symmetric)
        for v, spec in specs.items()
        if v not in smoothing
    }
    found |= {
        v: extremes(statistics.tensor(v), statistics.channels[v], each)
        for v, each in smoothing.items()
    }
    for group in plan.groups:
        low = min(found[v][0] for v in group)
        high = max(found[v][1] for v in group)
        found.update(dict.fromkeys(group, (low, high)))
    return {v: qparams(low, high, specs[v]) for v, (low, high) in found.items()}


def _zero_free(spec: QuantSpec, *, is_negative: bool) -> QuantSpec:
    """How a value is stored whose zero point must be 0."""
    if is_negative:
        return SYMMETRIC if spec.bits == 8 else SYMMETRIC.of_width(16)
    return replace(spec, symmetric=False)
