"""The one place where Q/DQ is written into a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray

from gossamer.errors import PlanError
from gossamer.graph.rescale import fold, makers
from gossamer.graph.rounder import Rounder
from gossamer.graph.smooth import multiplied
from gossamer.graph.weights import Data, constant_input, write_weight
from gossamer.plan import Plan
from gossamer.quant import QParams

# 16-bit values in the standard's Q/DQ; ONNX Runtime's own take them in any opset, and OpenVINO
# reads both
WIDE_OPSET = 21


def write(
    model: ir.Model,
    plan: Plan,
    params: Mapping[str, QParams],
    factors: Mapping[str, NDArray[np.float32]] | None = None,
    means: Mapping[str, NDArray[np.float32]] | None = None,
    rounder: Rounder | None = None,
) -> ir.Model:
    """`model` (edited in place) with Q/DQ where `plan` says.

    1. Every activation value of the plan gets one Q; each reader gets a DQ of its own, because
       runtimes fuse DQ -> op -> Q only where the DQ has one reader. A value made by a quantized
       site is read through its DQ by everybody; others keep reading the float value. So do nodes
       inside the branches of If and the bodies of Loop.
    2. Weights become int8 initializers behind a DQ, per channel where the plan says so.
    3. Biases of quantized sites become int32 with scale (input scale * weight scale).

    Args:
        model: The float graph that the plan was made for.
        plan: Placement of that graph.
        params: Numbers of every value in `plan.values`, and of weights that came with some.
        factors: What each smoothed value is multiplied by, for each channel: by what makes it, or
            in front of its Q.
        means: Mean of each channel of values that weights are multiplied with; biases behind them
            are corrected.
        rounder: How weights are rounded; to the nearest without it.

    Raises:
        PlanError: A value or node of the plan is not in the graph.
    """
    graph, smoothing = model.graph, factors or {}
    values = _values(graph)
    _fold(graph, plan, values, smoothing)
    nodes = {node.name: node for node in graph}
    for decision in plan.quantized:
        if decision.site not in nodes:
            raise _foreign(f"a node named {decision.site!r}", "a graph without it")
        if decision.weight is not None:
            source = decision.inputs[0] if decision.inputs else ""
            data = Data(
                numbers=params.get(source),
                factors=smoothing.get(source),
                mean=(means or {}).get(decision.data or ""),
                weight=params.get(decision.weight),
            )
            spec = plan.weight_of(decision.weight)
            write_weight(graph, nodes[decision.site], decision, spec, data, rounder or Rounder())
        for name in decision.apart:
            nodes[name].op_type = "Sum"
    for name in plan.values:
        if name not in values or name not in params:
            raise _foreign(f"a value {name!r} with a range", "none of that name")
        factor = None if name in plan.rescaled else smoothing.get(name)
        _write_pair(plan, _Pair.of(graph, values[name], params[name], factor))
    graph.sort()
    passes.NameFixPass()(model)
    return model


def _write_pair(plan: Plan, pair: _Pair) -> None:
    """Q and DQ of one value for those who read it in int8, or for all if a site makes it so."""
    name = pair.value.name
    readers = {
        member
        for d in plan.quantized
        if name in d.inputs
        for member in (d.site, *d.fused, *d.through)
    }
    pair.write(everybody=any(name in d.outputs for d in plan.quantized), readers=readers)


def _fold(
    graph: ir.Graph,
    plan: Plan,
    values: Mapping[str, ir.Value],
    factors: Mapping[str, NDArray[np.float32]],
) -> None:
    """Let what makes the rescaled values take their factors in."""
    wanted = {v: makers(values[v], frozenset(plan.values)) for v in factors if v in plan.rescaled}
    for name, parts in wanted.items():
        if not parts:
            raise _foreign(f"a node in front of {name!r} that takes factors in", "another one")
        fold(graph, parts, factors[name])


def _foreign(needed: str, received: str) -> PlanError:
    return PlanError(needed, received, "Make the plan for the graph that it is written into.")


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    found = {v.name: v for v in graph.inputs if v.name}
    for node in graph:
        found.update({v.name: v for v in node.outputs if v.name})
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """The Q of one value, and what its DQs need."""

    graph: ir.Graph
    value: ir.Value
    scale: ir.Value
    zero: ir.Value
    factors: NDArray[np.float32] | None
    domain: str

    @classmethod
    def of(
        cls,
        graph: ir.Graph,
        value: ir.Value,
        numbers: QParams,
        factors: NDArray[np.float32] | None,
    ) -> _Pair:
        domain = ""
        if numbers.zero_point.dtype.itemsize > 1 and graph.opset_imports[""] < WIDE_OPSET:
            domain = "com.microsoft"
            graph.opset_imports.setdefault(domain, 1)
        return cls(
            graph=graph,
            value=value,
            domain=domain,
            factors=factors,
            scale=constant_input(graph, f"{value.name}_scale", numbers.scale),
            zero=constant_input(graph, f"{value.name}_zero_point", numbers.zero_point),
        )

    def write(self, *, everybody: bool, readers: set[str]) -> None:
        """Q behind the value, and a DQ in front of each reader."""
        value, name = self.value, self.value.name
        uses = tuple(value.uses())
        source = value if self.factors is None else multiplied(self.graph, value, self.factors)
        node = ir.node(
            "QuantizeLinear",
            [source, self.scale, self.zero],
            domain=self.domain,
            name=f"{name}_QuantizeLinear",
        )
        stored = node.outputs[0]
        stored.name, stored.shape = f"{name}_quantized", value.shape
        stored.type = ir.TensorType(self.zero.dtype or ir.DataType.UINT8)
        self.graph.append(node)
        for reader, index in uses:
            if reader.graph is self.graph and (everybody or reader.name in readers):
                out = self._dequantized(stored, f"{reader.name}_{index}")
                reader.replace_input_with(index, out)
        if everybody and value.is_graph_output():
            self._move_output(stored)

    def _dequantized(self, stored: ir.Value, suffix: str) -> ir.Value:
        name = f"{self.value.name}_DequantizeLinear_{suffix}"
        operands = [stored, self.scale, self.zero]
        node = ir.node("DequantizeLinear", operands, domain=self.domain, name=name)
        out = node.outputs[0]
        out.name = f"{self.value.name}_dequantized_{suffix}"
        out.shape, out.type = self.value.shape, self.value.type
        self.graph.append(node)
        return out

    def _move_output(self, stored: ir.Value) -> None:
        """Give the name of a graph output to the value behind its DQ."""
        if not any(v is self.value for v in self.graph.outputs):
            return
        out = self._dequantized(stored, "output")
        for index, output in enumerate(self.graph.outputs):
            if output is self.value:
                self.graph.outputs[index] = out
        out.name, self.value.name = self.value.name, f"{self.value.name}_float"
