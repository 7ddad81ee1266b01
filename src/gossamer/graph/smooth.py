"""SmoothQuant: channels of an activation come to their Q at about the same size.

Xiao et al. 2022, arXiv:2211.10438. Channel j of the value x of a product x W is divided by

    s_j = max|x_j|**STRENGTH / max|W_j|**(1 - STRENGTH)

and row j of every weight behind it multiplied by the same. Little is left for the range of a tensor
to cut off, and small channels get as many steps as large ones. With strength 0.5, and weights in
place of what was observed of x, it would be cross-layer equalisation (Nagel et al. 2019,
arXiv:1906.04721).

The division is a Mul in front of the Q, on targets where that costs less than nothing: in OpenVINO
2026.4.1 the kernel before takes it in, or it takes in the Q, which would be two kernels of its own
otherwise (27 and 10 µs for 128×384 in MiniLM, Zen 4, 2026-11-22).

Elsewhere what makes x takes the division in, if it can (`rescale`), which is free. Then it is done
where roundings of x and of the weights behind it together make half the noise in the outputs, as
far as ranges and means tell (`_Group.noise`: within 15 % of the truth for what the attentions of
MiniLM give): channels of Convs seldom differ by so much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.graph.layout import CHANNEL_AXES, by_output, divided, input_channels
from gossamer.graph.match import constant
from gossamer.graph.rescale import axis, channels, makers
from gossamer.graph.weights import constant_input, weight_numbers
from gossamer.plan import Plan
from gossamer.quant import QuantSpec
from gossamer.statistics import ChannelStatistics, Statistics, TensorStatistics
from gossamer.step import RangeRule

# logits of MiniLM on SST-2, 400 sentences, OpenVINO: 31.6 dB with 0.9 for all values, 28.3 with the
# strength that makes the least noise for each of them, mostly 1
STRENGTH = 0.9
WORTH = 0.5  # of the noise without: smaller gains were none (MiniLM) or losses (ConvNeXt)
UNSEEN = 2.0  # a sample of a channel misses up to half of its range (ResNet-20)
DEVIATIONS = 8  # standard deviations from the lowest to the highest of a channel, about
SMALLEST, LARGEST = 1e-3, 1e3
TOKENS = 3  # the rank at which factors of the last axis are those of a Q along no axis
WHOLE, HALF = 255.0, 127.0  # steps of a range, and of its larger half where zero is in the middle


def rescaled(nodes: Sequence[ir.Node], plan: Plan) -> tuple[str, ...]:
    """Names of the values that int8 products alone read, and whose makers can take factors in."""
    shared = {name for group in plan.shared for name in group}
    quantized = frozenset(plan.values)
    found = []
    for value, readers in _read(nodes, plan):
        uses = {(use.node, use.idx) for use in value.uses()}
        is_alone = uses == {(node, 0) for node in readers} and not value.is_graph_output()
        # of one number in each sample, as behind a pooling, calibration knows no channel's range
        is_known = value.shape is not None and len(value.shape) >= TOKENS
        if (
            is_alone
            and is_known
            and value.name not in shared
            and (parts := makers(value, quantized))
        ):
            known = {
                (CHANNEL_AXES[node.op_type], input_channels(node, _weight(node)))
                for node in readers
            }
            found += [value.name or ""] if known == {(axis(parts), channels(parts))} else []
    return tuple(found)


def multiplied_values(nodes: Sequence[ir.Node], plan: Plan) -> tuple[str, ...]:
    """Names of the values that nothing but int8 MatMuls quantizes, and whose channels are known."""
    direct = {(value.name, node) for value, readers in _read(nodes, plan) for node in readers}
    by_name = {node.name: node for node in nodes}
    barred = {
        name
        for d in plan.quantized
        for name in (*d.inputs, *d.outputs)
        if d.op != "MatMul" or (name, by_name[d.site]) not in direct
    }
    return tuple(
        value.name or ""
        for value, _ in _read(nodes, plan)
        if value.name not in barred and _has_channels(value)
    )


def _read(nodes: Sequence[ir.Node], plan: Plan) -> Iterator[tuple[ir.Value, list[ir.Node]]]:
    """Values that products with weights read straight from their Q/DQ, and those products."""
    decisions = {d.site: d for d in plan.quantized}
    found: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes:
        decision, value = decisions.get(node.name or ""), node.inputs[0] if node.inputs else None
        if decision is None or value is None or node.op_type not in CHANNEL_AXES:
            continue
        if decision.weight is not None and decision.inputs[:1] == (value.name,):
            found.setdefault(value, []).append(node)
    yield from found.items()


def _weight(node: ir.Node) -> NDArray[np.float32]:
    tensor = constant(node.inputs[1])
    assert tensor is not None  # it has a decision with a weight
    return np.asarray(tensor.numpy(), np.float32)


def _has_channels(value: ir.Value) -> bool:
    shape = value.shape
    is_made = value.producer() is not None
    return is_made and shape is not None and len(shape) == TOKENS and isinstance(shape[-1], int)


def factors(
    graph: ir.Graph, plan: Plan, statistics: Statistics, ranges: RangeRule
) -> dict[str, NDArray[np.float32]]:
    """1 / s of each value to be smoothed, `[channels]`.

    They are numbers of bfloat16, so that a Mul in that type multiplies by what weights are divided
    by; their geometric mean is about 1.

    Args:
        graph: Where the values are.
        plan: Placement of that graph.
        statistics: Of the values and their channels.
        ranges: What chooses the range of a value that is left as it is.
    """
    found = {}
    for value, readers in _read(tuple(graph), plan):
        name = value.name or ""
        known = statistics.channels.get(name)
        if name not in plan.smoothed or known is None or known.low is None or known.high is None:
            continue
        group = _Group.of(readers, plan, known)
        if group is None:
            continue
        each, tensor = group.factors(), statistics.tensor(name)
        if name in plan.rescaled:
            is_half = plan.activation.symmetric or (name in plan.symmetric and tensor.low < 0)
            plain = ranges.range(tensor, symmetric=is_half)
            before = group.noise(np.ones_like(known.mean), plain)
            if group.noise(each, extremes(tensor, known, each)) >= WORTH * before:
                continue
        found[name] = each
    return found


def extremes(
    tensor: TensorStatistics, known: ChannelStatistics, factors: NDArray[np.float32]
) -> tuple[float, float]:
    """The range of a value whose channels are multiplied.

    Of channels that a sample tells, it is wider than that, but not than the whole value allows; one
    that the sample saw nothing of may be as wide as the value.
    """
    assert known.low is not None  # there would be no factors
    assert known.high is not None
    low, high = known.low, known.high
    if not known.is_exact:
        is_silent = (low == 0) & (high == 0)
        lowest, highest = min(tensor.low, 0.0), max(tensor.high, 0.0)
        low = np.where(is_silent, lowest, np.maximum(low * UNSEEN, lowest))
        high = np.where(is_silent, highest, np.minimum(high * UNSEEN, highest))
    return min(float((low * factors).min()), 0.0), max(float((high * factors).max()), 0.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Group:
    """The products that read one value.

    Attributes:
        weights: Each of them with its weight, the axis of its outputs and how it is stored.
        size: Largest |x| of each channel.
        is_exact: Whether all elements told it, so that a channel of size 0 has nothing but 0.
        power: Mean square of each channel.
        is_symmetric: Whether the zero point of the value must be 0.
        is_signed: Whether it is stored as s8 even if it is never negative.
    """

    weights: tuple[tuple[ir.Node, NDArray[np.float32], int | None, QuantSpec], ...]
    size: NDArray[np.float64]
    is_exact: bool
    power: NDArray[np.float64]
    is_symmetric: bool
    is_signed: bool

    @classmethod
    def of(cls, readers: Sequence[ir.Node], plan: Plan, known: ChannelStatistics) -> _Group | None:
        """None where a product reads other channels than were observed."""
        assert known.low is not None  # the caller looked
        assert known.high is not None
        decisions = {d.site: d for d in plan.quantized}
        arrays = [_weight(node) for node in readers]
        if any(
            input_channels(*each) != len(known.mean) for each in zip(readers, arrays, strict=True)
        ):
            return None
        spread = (known.high.astype(np.float64) - known.low) / DEVIATIONS
        return cls(
            weights=tuple(
                (node, array, decision.weight_axis, plan.weight_of(decision.weight))
                for node, array in zip(readers, arrays, strict=True)
                if (decision := decisions[node.name or ""])
            ),
            size=np.maximum(-known.low, known.high).astype(np.float64),
            is_exact=known.is_exact,
            power=np.square(known.mean.astype(np.float64)) + np.square(spread),
            is_symmetric=decisions[readers[0].name or ""].data in plan.symmetric,
            is_signed=plan.activation.symmetric,
        )

    def factors(self) -> NDArray[np.float32]:
        """1 / s."""
        sizes = [
            np.abs(by_output(node, array)).max(axis=(1, 3)).ravel()
            for node, array, *_ in self.weights
        ]
        largest = np.max(sizes, axis=0)
        is_alive = (self.size > 0) & (largest > 0)
        if not is_alive.any():
            return np.ones(len(self.size), np.float32)
        x, w = (np.where(is_alive, a, 1.0).astype(np.float64) for a in (self.size, largest))
        logarithm = (1 - STRENGTH) * np.log(w) - STRENGTH * np.log(x)
        logarithm -= logarithm[is_alive].mean()
        wide = np.clip(np.exp(logarithm), SMALLEST, LARGEST)
        rest = 1.0 if self.is_exact else min(1.0, float(wide[is_alive].min()))
        found: NDArray[np.float32] = np.where(is_alive, wide, rest).astype(ml_dtypes.bfloat16)
        return found.astype(np.float32)

    def noise(self, factors: NDArray[np.float32], bounds: tuple[float, float]) -> float:
        """Noise power of all outputs at one place, from rounding the value and the weights.

        A rounding in steps of d makes d**2 / 12; that of the value is multiplied by weights, that
        of weights by the value.
        """
        low, high = bounds
        is_half = self.is_signed or (self.is_symmetric and low < 0)
        width = max(-low, high) if is_half else high - low
        step = width / (HALF if is_half else WHOLE)
        power = self.power * np.square(factors, dtype=np.float64)
        noise = 0.0
        for node, array, outputs_axis, spec in self.weights:
            weight = divided(node, array, factors)
            laid = by_output(node, weight)
            groups, outputs, inputs, positions = laid.shape
            steps = weight_numbers(weight, spec, outputs_axis).scale.astype(np.float64)
            steps = np.broadcast_to(np.square(steps), groups * outputs).reshape(groups, outputs)
            noise += step**2 * float(np.square(laid).sum(dtype=np.float64))
            rows = power.reshape(groups, inputs).sum(axis=1)
            noise += positions * float((steps.sum(axis=1) * rows).sum())
        return noise / 12


def multiplied(graph: ir.Graph, value: ir.Value, factors: NDArray[np.float32]) -> ir.Value:
    """`value` times its factors, by a Mul of its own."""
    name = f"{value.name}_smoothed"
    node = ir.node("Mul", [value, constant_input(graph, f"{name}_factors", factors)], name=name)
    out = node.outputs[0]
    out.name, out.shape, out.type = name, value.shape, value.type
    graph.append(node)
    return out
