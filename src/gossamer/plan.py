"""What happens at every site of a graph, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from gossamer.quant import QuantSpec

if TYPE_CHECKING:
    from gossamer.step import RangeRule


class Reason(StrEnum):
    """Why a site is as it is."""

    QUANTIZED = "quantized"
    NO_RULE = "no rule"
    NO_WEIGHT = "no constant weight"
    EXCLUDED = "excluded"
    UNPROFITABLE = "unprofitable"
    UNCALIBRATED = "no calibration range"
    NOT_INT8_NEIGHBOUR = "neighbours stay in float"
    REVERTED_ACCURACY = "reverted:accuracy"
    REVERTED_LATENCY = "reverted:latency"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What happens at one site.

    Attributes:
        site: Name of the node that anchors the site (`Conv`, `MatMul`, `Add`, …).
        op: Its operator type.
        reason: Why.
        detail: One clause for people: the rule or fact behind the reason.
        inputs: Names of activation values that get Q/DQ in front of this node.
        data: Name of the activation value that the weight is multiplied with.
        outputs: Names of values that get Q/DQ behind this site (after fused tails).
        weight: Name of the constant that is stored in int8, if any.
        bias: Name of the constant bias stored in int32, if any.
        fused: Names of the nodes that the runtime runs inside this site's kernel.
        through: Names of the nodes that stand between the Q/DQ of an input and this node.
        apart: Names of the Adds behind this node that are written as Sum.
        nonzero_bias: Whether the kernel must get a bias that is not all zero.
        growth: How much larger the steps of its weights are so that their products fit into sums of
            16 bits; 1 where that is not known yet, see `gossamer.graph.narrow`.
    """

    site: str
    op: str
    reason: Reason
    detail: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    data: str | None = None
    weight: str | None = None
    weight_axis: int | None = None
    bias: str | None = None
    fused: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    nonzero_bias: bool = False
    growth: float = 1.0

    @property
    def is_quantized(self) -> bool:
        """Whether the site runs in int8."""
        return self.reason is Reason.QUANTIZED


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Every site's decision for one graph on one target.

    Attributes:
        target: Public name of the target.
        cpu: CPU level that the plan is safe for.
        activation: How activations are stored.
        weight: How weights are stored.
        decisions: One for each site, in topological order.
        shared: Groups of values that must share one scale (Concat members and its output).
        symmetric: Names of activation values whose zero point must be 0.
        smoothed: Names of activation values whose channels come to the Q multiplied by factors.
        rescaled: Those of them that come so from what makes them; the others get a Mul.
        specs: By name, how those values and weights are stored that are not stored as all others.
        ranges: By name, what chooses the ranges of values that have a rule of their own.
    """

    target: str
    cpu: str
    activation: QuantSpec
    weight: QuantSpec
    decisions: tuple[Decision, ...] = ()
    shared: tuple[tuple[str, ...], ...] = field(default=())
    symmetric: tuple[str, ...] = ()
    smoothed: tuple[str, ...] = ()
    rescaled: tuple[str, ...] = ()
    specs: tuple[tuple[str, QuantSpec], ...] = ()
    ranges: tuple[tuple[str, RangeRule], ...] = ()

    @property
    def quantized(self) -> tuple[Decision, ...]:
        """The decisions of sites that run in int8."""
        return tuple(d for d in self.decisions if d.is_quantized)

    @property
    def values(self) -> tuple[str, ...]:
        """Names of all activation values that need a range, each once, in order."""
        seen = {v: None for d in self.quantized for v in (*d.inputs, *d.outputs)}
        return tuple(seen)

    @property
    def weighted(self) -> tuple[str, ...]:
        """Names of all activation values that weights are multiplied with, each once, in order."""
        return tuple(dict.fromkeys(d.data for d in self.quantized if d.data is not None))

    @property
    def groups(self) -> tuple[frozenset[str], ...]:
        """Values that share one scale: `shared`, merged where they overlap."""
        values = set(self.values)
        groups: list[frozenset[str]] = []
        for members in self.shared:
            merged = values & {*members}
            if merged:
                meeting = [group for group in groups if group & merged]
                rest = [group for group in groups if not group & merged]
                groups = [*rest, frozenset(merged.union(*meeting))]
        return tuple(groups)

    def activation_of(self, value: str) -> QuantSpec:
        """How one activation value is stored."""
        return dict(self.specs).get(value, self.activation)

    def weight_of(self, weight: str | None) -> QuantSpec:
        """How one weight is stored."""
        return dict(self.specs).get(weight or "", self.weight)

    def storage(self, decision: Decision) -> str:
        """How a site is stored, for people; empty if it stays as it is."""
        if not decision.is_quantized:
            return ""
        values = dict.fromkeys((*decision.inputs, *decision.outputs))
        parts = [spec.text for spec in dict.fromkeys(self.activation_of(v) for v in values)]
        if decision.weight is not None:
            parts.append(f"weight {self.weight_of(decision.weight).text}")
        return ", ".join(parts)
