"""Taps: nodes that read small statistics off a value while the graph runs.

Large activations never leave the runtime. Of each tapped value come out, in every run:

- `sample`: every `step`-th element (a prime, so that it does not keep hitting one channel);
- `highest` and `lowest`: the exact extremes, of each row of ROW elements, about, or of all (of a
  value that cannot be negative only the first);
- `loud`: the rows in which an element lies above the value's upper threshold or below its lower
  one. Thresholds are inputs of the graph. So every element beyond them is known.

A small value comes out `whole`, and so do all values of a small model: there the nodes of a tap
would cost more than the value itself. A value whose channels are asked for has a tap of
its own for them: `mean` and, of smoothed values, `low` and `high`. Of the model's own outputs come
only sums: NaN from anywhere mostly ends there, while extremes and samples can miss it.

ONNX Runtime visits the leaves of a graph from the last node to the first, and runs first what a
leaf needs. Appended in reverse order, every tap runs right behind the value that it reads, while
that is in the cache, and the memory is free again. In other orders all activations stay alive
until the end (mobilenetv2: 1.7 instead of 1.4 times the time of plain inference, 2026-11).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from gossamer.errors import CalibrationError

# inputs of the tapped graph, drawn or adapted anew for every run
START = "gossamer.start"  # where samples begin, [1] int64
ABOVE, BELOW = "gossamer.above", "gossamer.below"  # thresholds of every tap, [taps] float32
INPUTS = (START, ABOVE, BELOW)
POINTS = 1 << 17  # sampled elements of one value in all runs; the entropy rule needs them
MIN_POINTS, MAX_POINTS = 512, 1 << 14  # … in one run
ROW = 64  # elements of a row, about: 0.09 ns per element, 0.20 with 16 (2026-11, one thread)
SHORT = 16  # rows below this length have too many extremes to tell
WHOLE = 1 << 20  # elements of all values of a small model, 4 MiB
UNKNOWN_SIZE = 1 << 16
END = np.iinfo(np.int64).max

VIEWS = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
NONNEGATIVE = {"Relu", "Sigmoid", "Softmax"}
KEEPS_SIGN = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"} | VIEWS


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to observe in a graph.

    Attributes:
        values: Names of float32 activations in the main graph of which a range is wanted.
        means: Those of which the mean of each channel is wanted, and the axis of the channels; one
            of unknown rank goes without.
        extremes: Those of `means` of which the extremes of each channel are wanted too.
    """

    values: Sequence[str]
    means: Mapping[str, int] = field(default_factory=dict)
    extremes: Collection[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Tap:
    """What comes out of one value.

    Attributes:
        values: Names of the values that it stands for: the same numbers in other shapes.
        step: Stride of the sample; 1 is all of the value, 0 nothing.
        outputs: Positions of the graph outputs by part.
    """

    values: tuple[str, ...]
    step: int
    outputs: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Size:
    """Elements of a value.

    Attributes:
        elements: How many, as far as known.
        is_fixed: Whether it never has fewer.
        divisor: What divides them in any case.
    """

    elements: int
    is_fixed: bool
    divisor: int


def tap(
    model: ir.Model, wanted: Wanted, samples: int, dimensions: Mapping[str, int]
) -> tuple[Tap, ...]:
    """The taps, added to `model` in place; its own outputs give way to checks for NaN.

    Args:
        model: A float graph.
        wanted: What to tap.
        samples: Runs to come.
        dimensions: Sizes of symbolic dimensions, as the first sample has them.

    Raises:
        CalibrationError: A value does not exist or holds no float32 numbers.
    """
    graph = model.graph
    order = {v: i for i, v in enumerate((*graph.inputs, *(o for n in graph for o in n.outputs)))}
    known = {v.name: v for v in order}
    roots: dict[ir.Value, list[str]] = {}
    for name in dict.fromkeys(wanted.values):
        roots.setdefault(_seen_through(_activation(known, name), order), []).append(name)

    writer = _Writer(graph)
    ends = [v for v in graph.outputs if v.dtype == ir.DataType.FLOAT and v in order]
    graph.outputs.clear()
    by_channel = {
        value: axis
        for name, axis in wanted.means.items()
        if (value := _activation(known, name)).shape is not None
    }
    writer.split_thresholds(len(roots) + len(by_channel) + len(ends))
    sizes = {root: _size(root, dimensions) for root in roots}
    is_small = sum(size.elements for size in sizes.values()) <= WHOLE
    taps = []
    for value in sorted({*roots, *by_channel}, key=order.__getitem__):
        if value in roots:
            names, size = tuple(roots[value]), sizes[value]
            step = _step(size.elements, samples)
            if is_small or step == 1:
                taps.append(_whole(writer, value, names, step))
            else:
                taps.append(_tap(writer, value, names, size, step))
        if value in by_channel:
            taps.append(_channels(writer, value, by_channel[value], value.name in wanted.extremes))
    taps += [_check(writer, v) for v in ends]
    writer.append_reversed()
    return tuple(taps)


def _whole(writer: _Writer, value: ir.Value, names: tuple[str, ...], step: int) -> Tap:
    writer.begin()
    return Tap(values=names, step=step, outputs={"whole": writer.output(value)})


def _tap(writer: _Writer, value: ir.Value, names: tuple[str, ...], size: _Size, step: int) -> Tap:
    above, below = writer.begin()
    is_signed = not _is_nonnegative(value)
    found = {"sample": writer.sample(value, step)}
    length = _row(size.divisor)
    rows = writer.node("Reshape", value, writer.numbers(-1, length))
    highs = writer.node("ReduceMax", rows, writer.numbers(1), keepdims=0)
    found["highest"] = highs if length >= SHORT else writer.node("ReduceMax", highs)
    is_loud = writer.node("GreaterOrEqual", highs, above)
    if is_signed:
        lows = writer.node("ReduceMin", rows, writer.numbers(1), keepdims=0)
        found["lowest"] = lows if length >= SHORT else writer.node("ReduceMin", lows)
        is_loud = writer.node("Or", is_loud, writer.node("Less", lows, below))
    found["loud"] = writer.node("Compress", rows, is_loud, axis=0)
    return Tap(values=names, step=step, outputs={k: writer.output(v) for k, v in found.items()})


def _channels(writer: _Writer, value: ir.Value, axis: int, has_extremes: bool) -> Tap:
    """Turned around first where channels are the last axis: reducing the others is slow there.

    128x1536 elements on one thread: 207 us for a maximum, 20 and 100 for turning around (2026-11).
    """
    writer.begin()
    rank = len(value.shape or ())
    axis %= rank
    others = tuple(i for i in range(rank) if i != axis)
    if axis == rank - 1 and others:
        value, name = writer.node("Transpose", value, perm=(axis, *others)), value.name
        others = tuple(range(1, rank))
    else:
        name = value.name
    parts = {"mean": "ReduceMean"}
    parts |= {"low": "ReduceMin", "high": "ReduceMax"} if has_extremes else {}
    outputs = {
        part: writer.output(writer.node(op, value, writer.numbers(*others), keepdims=0))
        for part, op in parts.items()
    }
    return Tap(values=(name or "",), step=0, outputs=outputs)


def _check(writer: _Writer, value: ir.Value) -> Tap:
    writer.begin()
    total = writer.output(writer.node("ReduceSum", value))
    return Tap(values=(value.name or "",), step=0, outputs={"sum": total})


class _Writer:
    """Writes the nodes of one tap after the other; they join the graph in reverse order."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._groups: list[list[ir.Node]] = []
        self._constants: dict[tuple[int, ...], ir.Value] = {}
        self._start = self._input(START, ir.DataType.INT64, 1)
        self._above: Iterator[ir.Value] = iter(())
        self._below: Iterator[ir.Value] = iter(())

    def split_thresholds(self, taps: int) -> None:
        """Thresholds become inputs of the graph, one pair for each of the next taps."""
        above, below = (
            ir.node(
                "Split",
                (self._input(name, ir.DataType.FLOAT, taps),),
                attributes={"num_outputs": taps},
                num_outputs=taps,
            )
            for name in (ABOVE, BELOW)
        )
        self._graph.extend((above, below))
        self._above, self._below = iter(above.outputs), iter(below.outputs)

    def begin(self) -> tuple[ir.Value, ir.Value]:
        """The thresholds of the next tap."""
        self._groups.append([])
        return next(self._above), next(self._below)

    def _input(self, name: str, dtype: ir.DataType, size: int) -> ir.Value:
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape((size,)))
        self._graph.inputs.append(value)
        return value

    def node(self, op: str, *inputs: ir.Value, **attributes: int | tuple[int, ...]) -> ir.Value:
        """The output of a new node of the current tap."""
        node = ir.node(op, inputs, attributes=attributes)
        self._groups[-1].append(node)
        return node.outputs[0]

    def sample(self, value: ir.Value, step: int) -> ir.Value:
        """Every `step`-th element."""
        flat = self.node("Reshape", value, self.numbers(-1))
        end, axis, stride = self.numbers(END), self.numbers(0), self.numbers(step)
        return self.node("Slice", flat, self._start, end, axis, stride)

    def numbers(self, *numbers: int) -> ir.Value:
        """A constant `[n]` int64."""
        if numbers not in self._constants:
            name = f"gossamer.constant.{len(self._constants)}"
            tensor = ir.tensor(np.array(numbers, np.int64), name=name)
            value = ir.Value(
                name=name,
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape((len(numbers),)),
                const_value=tensor,
            )
            self._graph.register_initializer(value)
            self._constants[numbers] = value
        return self._constants[numbers]

    def output(self, value: ir.Value) -> int:
        """The position at which `value` becomes a graph output."""
        position = len(self._graph.outputs)
        value.name = value.name or f"gossamer.output.{position}"
        value.type = ir.TensorType(ir.DataType.FLOAT)
        self._graph.outputs.append(value)
        return position

    def append_reversed(self) -> None:
        """All nodes join the graph, the last tap first."""
        for group in reversed(self._groups):
            self._graph.extend(group)


def _activation(known: Mapping[str | None, ir.Value], name: str) -> ir.Value:
    value = known.get(name)
    if value is None:
        raise CalibrationError(
            f"a value called {name!r}",
            "a graph whose nodes neither make nor take it",
            "Values inside the branches of If and Loop cannot be observed.",
        )
    if value.dtype not in (ir.DataType.FLOAT, None):
        raise CalibrationError(
            f"float32 numbers in {name!r}", f"{value.dtype}", "Only float values get a range."
        )
    return value


def _seen_through(value: ir.Value, activations: Collection[ir.Value]) -> ir.Value:
    """The activation of which `value` is a view: the same elements."""
    node = value.producer()
    while node is not None and node.op_type in VIEWS:
        source = node.inputs[0]
        if source is None or source not in activations:
            break
        value, node = source, source.producer()
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


def _size(value: ir.Value, dimensions: Mapping[str, int]) -> _Size:
    """A symbolic first axis of size 1 is the batch, and stays 1."""
    if value.shape is None:
        return _Size(elements=UNKNOWN_SIZE, is_fixed=False, divisor=1)
    elements, divisor, is_fixed = 1, 1, True
    for axis, dimension in enumerate(value.shape):
        if isinstance(dimension, int):
            elements, divisor = elements * dimension, divisor * dimension
            continue
        length = dimensions.get(str(dimension.value))
        is_fixed &= axis == 0 and length == 1
        elements *= length or 64
    return _Size(elements=elements, is_fixed=is_fixed, divisor=divisor)


def _step(elements: int, samples: int) -> int:
    """1, or a prime that does not divide the size, and keeps about POINTS elements of all runs."""
    step = elements // min(max(POINTS // samples, MIN_POINTS), MAX_POINTS)
    if step < 2:
        return 1
    step |= 1  # odd
    while elements % step == 0 or not _is_prime(step):
        step += 2
    return step


def _is_prime(odd: int) -> bool:
    return odd > 1 and all(odd % q for q in range(3, math.isqrt(odd) + 1, 2))


def _row(divisor: int) -> int:
    """The divisor nearest to ROW, 1 if there is none."""
    return min(
        (d for d in range(1, min(divisor, ROW * ROW) + 1) if divisor % d == 0),
        key=lambda d: abs(math.log2(d / ROW)),
        default=1,
    )
