"""What weights give up so that kernels may add two of their products in 16 bits, site by site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.graph.adopted import kept
from gossamer.graph.layout import divided
from gossamer.graph.match import constant
from gossamer.graph.weights import weight_numbers
from gossamer.plan import Decision, Plan
from gossamer.quant import QuantSpec

SMALLEST = 1.005  # that is told


def told(
    model: ir.Model, plan: Plan, factors: Mapping[str, NDArray[np.float32]] | None = None
) -> Plan:
    """The plan in which each site says how much larger the steps of its weights are.

    That is the mean over output channels of what `weight_numbers` chose for sums of 16 bits, by
    what it chooses for those of 32; sites that lose nothing, or keep numbers of their own, say
    nothing.

    Args:
        model: The float graph of the plan.
        plan: Its placement.
        factors: What the channels of values come multiplied by.
    """
    nodes = {node.name: node for node in model.graph}
    own = kept(model, plan)
    decisions = []
    for decision in plan.decisions:
        growth = 1.0
        if decision.is_quantized and decision.weight is not None and decision.weight not in own:
            source = decision.inputs[0] if decision.inputs else ""
            spec, factor = plan.weight_of(decision.weight), (factors or {}).get(source)
            growth = _growth(nodes[decision.site], decision, spec, factor)
        decisions.append(_saying(decision, growth))
    return replace(plan, decisions=tuple(decisions))


def _saying(decision: Decision, growth: float) -> Decision:
    if growth < SMALLEST:
        return decision
    detail = f"steps of weights {growth:.2f} times as large, for sums of 16 bits"
    return replace(decision, growth=growth, detail=f"{decision.detail}; {detail}")


def _growth(
    node: ir.Node, decision: Decision, spec: QuantSpec, factors: NDArray[np.float32] | None
) -> float:
    weight = next(v for v in node.inputs if v is not None and v.name == decision.weight)
    tensor = constant(weight)
    if tensor is None or spec.accumulator == "s32":
        return 1.0
    array = tensor.numpy().astype(np.float32)
    if factors is not None:
        array = divided(node, array, factors)
    wide = weight_numbers(array, replace(spec, accumulator="s32"), decision.weight_axis)
    narrow = weight_numbers(array, spec, decision.weight_axis)
    return float(np.mean(narrow.scale / wide.scale))
