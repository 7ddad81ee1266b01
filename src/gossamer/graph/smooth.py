"""SmoothQuant: channels of an activation come to their Q at about the same size.

Xiao et al. 2022, arXiv:2211.10438. Channel j of the value x of a product x W is divided by

    s_j = max|x_j|**ALPHA / max|W_j|**(1 - ALPHA)

and row j of every weight behind it multiplied by the same. Little is left for the range of a tensor
to cut off, and small channels get as many steps as large ones.

The division is a Mul in front of the Q, on targets where that costs nothing: in OpenVINO 2026.4.1
the kernel before takes it in, or it takes in the Q, which would be two kernels of its own otherwise
(27 and 10 µs for 128×384 in MiniLM, Zen 4, 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.graph.match import constant
from gossamer.graph.weights import constant_input
from gossamer.plan import Decision, Plan
from gossamer.statistics import ChannelStatistics, Statistics

# logits of MiniLM on SST-2, dev set: 27.2 dB with 0.8, 28.3 with 0.9, 27.6 with 1, 24 with 0.7;
# 18 without, 4 with 0.3 (before biases were corrected)
ALPHA = 0.9
SMALLEST, LARGEST = 1e-3, 1e3
TOKENS = 3  # the rank at which factors of the last axis are those of a Q along no axis


def smoothed(nodes: Iterable[ir.Node], decisions: Mapping[str, Decision]) -> tuple[str, ...]:
    """Names of the values that nothing but int8 MatMuls quantizes, and whose channels are known."""
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
    return tuple(n for n, v in wanted.items() if n not in barred and _has_channels(v))


def _has_channels(value: ir.Value) -> bool:
    shape = value.shape
    is_made = value.producer() is not None
    return is_made and shape is not None and len(shape) == TOKENS and isinstance(shape[-1], int)


def factors(graph: ir.Graph, plan: Plan, statistics: Statistics) -> dict[str, NDArray[np.float32]]:
    """1 / s of each smoothed value whose channels were observed, `[channels]`.

    They are numbers of bfloat16, so that a Mul in that type multiplies by what weights are divided
    by; their geometric mean is about 1.
    """
    found = {}
    for name in plan.smoothed:
        channels = statistics.channels.get(name)
        if channels is None or channels.low is None or channels.high is None:
            continue
        rows = [
            np.abs(weight.numpy()).max(axis=1)
            for d in plan.quantized
            if d.inputs == (name,)
            and (weight := constant(graph.initializers.get(d.weight or ""))) is not None
        ]
        activations, weights = np.maximum(-channels.low, channels.high), np.max(rows, axis=0)
        if activations.shape == weights.shape:  # not so where another node reads other channels
            found[name] = _factors(activations, weights)
    return found


def _factors(activations: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    is_alive = (activations > 0) & (weights > 0)
    if not is_alive.any():
        return np.ones(len(activations), np.float32)
    x, w = (np.where(is_alive, a, 1.0).astype(np.float64) for a in (activations, weights))
    logarithm = (1 - ALPHA) * np.log(w) - ALPHA * np.log(x)
    logarithm -= logarithm[is_alive].mean()
    wide = np.clip(np.exp(logarithm), SMALLEST, LARGEST)
    found: NDArray[np.float32] = np.where(is_alive, wide, 1.0).astype(ml_dtypes.bfloat16)
    return found.astype(np.float32)


def extremes(channels: ChannelStatistics, factors: NDArray[np.float32]) -> tuple[float, float]:
    """The exact range of a smoothed value."""
    assert channels.low is not None  # there would be no factors
    assert channels.high is not None
    low, high = (channels.low * factors).min(), (channels.high * factors).max()
    return min(float(low), 0.0), max(float(high), 0.0)


def multiplied(graph: ir.Graph, value: ir.Value, factors: NDArray[np.float32]) -> ir.Value:
    """`value` times its factors, by a Mul of its own."""
    name = f"{value.name}_smoothed"
    node = ir.node("Mul", [value, constant_input(graph, f"{name}_factors", factors)], name=name)
    out = node.outputs[0]
    out.name, out.shape, out.type = name, value.shape, value.type
    graph.append(node)
    return out
