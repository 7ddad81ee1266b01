"""The step `quantize-dynamic`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from gossamer.errors import TargetError
from gossamer.graph import dynamic
from gossamer.graph.place import Wish, place
from gossamer.graph.select import kept_float
from gossamer.quant import QuantSpec
from gossamer.step import GraphContext, GraphStep

if TYPE_CHECKING:
    import onnx_ir as ir

SYMMETRIC = QuantSpec(dtype="s8", symmetric=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeDynamic(GraphStep):
    """int8 weights, and activations whose range is computed at run time; needs no data.

    Attributes:
        exclude: Nodes that stay in float, as `gossamer.graph.select` finds them.
        weight_bits: Of the signed numbers that weights are stored as, 2 to 8; always one in a byte.
        granularity: One scale for a weight, or one for each of its output channels.
        placement: Which operators get an int8 kernel: those for which the target says that it pays
            (`profitable`), or every one that has such a kernel (`uniform`).
    """

    exclude: tuple[str, ...] = ()
    weight_bits: int = 8
    granularity: Literal["per-tensor", "per-channel"] = "per-channel"
    placement: Literal["profitable", "uniform"] = "profitable"

    def __post_init__(self) -> None:
        replace(SYMMETRIC, bits=self.weight_bits)  # which refuses others

    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:
        """The model with the target's dynamically quantized kernels where it has them.

        Raises:
            TargetError: The target has none.
            RecipeError: A selector of `exclude` matches nothing.
        """
        target = context.target
        if not target.dynamic:
            raise TargetError(
                "a target with dynamically quantized kernels", target.name, "Use quantize-static."
            )
        rules = tuple(
            replace(rule, ops=ops, output="float", tails=())
            for rule in target.rules
            if (ops := tuple(op for op in rule.ops if op in target.dynamic))
        )
        able = replace(target, rules=rules, follows=(), transparent=())
        kept = kept_float(model.graph, self.exclude, ())
        is_uniform = self.placement == "uniform"
        plan = place(model, able, Wish(cpu=context.cpu, exclude=kept, is_uniform=is_uniform))
        stored = replace(plan.weight, bits=self.weight_bits, granularity=self.granularity)
        plan = replace(plan, weight=stored)
        context.record(plan)
        return dynamic.write_dynamic(model, plan)
