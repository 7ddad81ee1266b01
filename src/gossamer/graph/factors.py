"""Factors by which a Mul brings a value to its Q, and which weights behind it are divided by.

They change nothing but the kernels. OpenVINO 2026.4.1 on bfloat16 converts a value to f32 and
quantizes it in a second kernel, unless the kernel that made it can write int8: that of a Mul can,
that of a Transpose and that of a value with other readers cannot (27 and 10 µs for 128×384 in
MiniLM, Zen 4, 2026-11-22). Equal factors would be folded into the Q.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.errors import PlanError
from gossamer.graph.weights import constant_input
from gossamer.plan import Decision
from gossamer.target import TargetSpec

FACTORS = (1.0, 1 - 2**-7)  # exact in bfloat16; at most 1, so that the range of the value holds
TOKENS = 3  # the rank at which factors of the last axis are those of a Q along no axis


def factors(value: ir.Value) -> NDArray[np.float32]:
    """One for each channel, the last axis.

    Raises:
        PlanError: The value has no fixed number of channels.
    """
    channels = value.shape[-1] if value.shape else None
    if not isinstance(channels, int):
        raise PlanError(f"channels in {value.name!r}", f"the shape {value.shape}", "Plan it anew.")
    return np.resize(np.array(FACTORS, np.float32), channels)


def multiplied(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """`value` times its factors, by a Mul of its own."""
    name = f"{value.name}_factored"
    numbers = constant_input(graph, f"{name}_factors", factors(value))
    node = ir.node("Mul", [value, numbers], name=name)
    out = node.outputs[0]
    out.name, out.shape, out.type = name, value.shape, value.type
    graph.append(node)
    return out


def behind_mul(
    nodes: Iterable[ir.Node], decisions: Mapping[str, Decision], target: TargetSpec
) -> tuple[str, ...]:
    """Names of the values that only int8 MatMuls quantize, and that no kernel before can."""
    wanted: dict[str, ir.Value] = {}
    barred: set[str] = set()
    for node in nodes:
        decision, value = decisions.get(node.name or ""), node.inputs[0] if node.inputs else None
        if decision is None or not decision.is_quantized:
            continue
        is_direct = value is not None and decision.inputs == (value.name,)
        if is_direct and decision.op == "MatMul" and decision.weight is not None:
            wanted |= {v.name or "": v for v in (value,) if v is not None}
        else:
            barred |= {*decision.inputs, *decision.outputs}
    return tuple(
        name
        for name, value in wanted.items()
        if name not in barred and _is_costly(value, decisions, target)
    )


def _is_costly(value: ir.Value, decisions: Mapping[str, Decision], target: TargetSpec) -> bool:
    maker, shape = value.producer(), value.shape
    if maker is None or shape is None or len(shape) != TOKENS or not isinstance(shape[-1], int):
        return False
    in_int8 = [
        (decision := decisions.get(use.node.name or "")) is not None and decision.is_quantized
        for use in value.uses()
    ]
    return maker.op_type in target.transparent or not all(in_int8) or value.is_graph_output()
