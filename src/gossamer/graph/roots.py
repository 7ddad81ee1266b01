"""Which values of a graph calibration taps, and what else each of them tells."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from gossamer.graph.curves import ITSELF, source

POINTS = 1 << 17  # sampled elements of one value in all runs; the entropy rule needs them
MIN_POINTS, MAX_POINTS = 512, 1 << 14  # … in one run
ROW = 64  # elements of a row, about: 0.09 ns per element, 0.20 with 16 (2026-11, one thread)
UNKNOWN_SIZE = 1 << 16

VIEWS = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
NONNEGATIVE = {"Relu", "Sigmoid", "Softmax"}
KEEPS_SIGN = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"} | VIEWS


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """A value of which a sample tells the mean of each channel.

    Attributes:
        value: Its name.
        channels: How many.
        inner: Elements of one channel that lie one behind the other.
        extremes: Whether it tells the extremes of each channel too: those of the sample.
    """

    value: str
    channels: int
    inner: int
    extremes: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Root:
    """A value to tap.

    Attributes:
        value: It.
        images: The asked values that are a curve of it, by the curve; all that are the same curve
            hold the same numbers in other shapes.
        elements: How many it has, as far as known.
        step: Stride of its sample: 1, or a prime that does not divide the number of elements. About
            POINTS elements of all runs remain.
        row: A number near ROW that always divides them.
        is_nonnegative: Whether it cannot have negative ones.
    """

    value: ir.Value
    images: Mapping[str, Sequence[ir.Value]]
    elements: int
    step: int
    row: int
    is_nonnegative: bool

    def means(self, value: ir.Value, axis: int, *, extremes: bool) -> Means | None:
        """How a sample tells the means of one of the images; None if it cannot."""
        dimensions = tuple(value.shape or ())[axis:]
        sizes = [d for d in dimensions if isinstance(d, int)]
        if len(sizes) < len(dimensions):
            return None
        name = value.name or ""
        while value is not self.value:
            node, curve = value.producer(), source(value)
            if node is None or node.op_type == "Transpose" or node.inputs[0] is None:
                return None  # in another order
            value = curve[1] if curve else node.inputs[0]
        inner = math.prod(sizes[1:])
        return Means(value=name, channels=sizes[0], inner=inner, extremes=extremes)


def roots(
    values: Sequence[ir.Value],
    order: Mapping[ir.Value, int],
    samples: int,
    dimensions: Mapping[str, int],
) -> dict[ir.Value, Root]:
    """What to tap for `values`, each by itself.

    Args:
        values: Of which statistics are wanted.
        order: All activations of the graph, in the order in which they are made.
        samples: Runs to come.
        dimensions: Sizes of symbolic dimensions, as far as known.
    """
    found: dict[ir.Value, dict[str, list[ir.Value]]] = {}
    for value in values:
        found.setdefault(_seen_through(value, order), {ITSELF: []})[ITSELF].append(value)
    for value in sorted(found, key=order.__getitem__):
        curve = source(value)
        if curve is None or (root := _seen_through(curve[1], order)) not in found:
            continue
        # of few elements all come out, and exact extremes cost nothing
        if _step(_elements(root, dimensions), samples) > 1:
            found[root].setdefault(curve[0], []).extend(found.pop(value)[ITSELF])
    result = {}
    for value, images in found.items():
        elements = _elements(value, dimensions)
        result[value] = Root(
            value=value,
            images=images,
            elements=elements,
            step=_step(elements, samples),
            row=_row(math.prod(d for d in value.shape or () if isinstance(d, int))),
            is_nonnegative=_is_nonnegative(value),
        )
    return result


def _elements(value: ir.Value, dimensions: Mapping[str, int]) -> int:
    if value.shape is None:
        return UNKNOWN_SIZE
    return math.prod(
        d if isinstance(d, int) else dimensions.get(str(d.value)) or 64 for d in value.shape
    )


def _step(elements: int, samples: int) -> int:
    step = elements // min(max(POINTS // samples, MIN_POINTS), MAX_POINTS)
    if step < 2:
        return 1
    step |= 1  # odd
    while elements % step == 0 or not _is_prime(step):
        step += 2
    return step


def _seen_through(value: ir.Value, activations: Collection[ir.Value]) -> ir.Value:
    """The activation of which `value` is a view: the same elements."""
    node = value.producer()
    while node is not None and node.op_type in VIEWS:
        before = node.inputs[0]
        if before is None or before not in activations:
            break
        value, node = before, before.producer()
    return value


def _is_nonnegative(value: ir.Value) -> bool:
    node = value.producer()
    while node is not None and node.op_type in KEEPS_SIGN and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None:
        return False
    if node.op_type == "Clip" and len(node.inputs) > 1 and node.inputs[1] is not None:
        low = ir.convenience.get_const_tensor(node.inputs[1])
        return low is not None and bool(np.all(low.numpy() >= 0))
    return node.op_type in NONNEGATIVE


def _is_prime(odd: int) -> bool:
    return odd > 1 and all(odd % q for q in range(3, math.isqrt(odd) + 1, 2))


def _row(divisor: int) -> int:
    """The divisor nearest to ROW, 1 if there is none."""
    numbers = np.arange(1, max(min(divisor, ROW * ROW), 1) + 1)
    divisors = numbers[divisor % numbers == 0]
    return int(divisors[np.abs(np.log2(divisors / ROW)).argmin()])
