"""Taps: nodes that read small statistics off a value while the graph runs.

Large activations never leave the runtime. Of each tapped value come out, in every run:

- `sample`: every `step`-th element (a prime, so that it does not keep hitting one channel);
- `highest` and `lowest`: the exact extremes, of each row of ROW elements, about, or of all (of a
  value that cannot be negative only the first);
- `loud`: the rows in which an element lies above the value's upper threshold or below its lower
  one. Thresholds are inputs of the graph. So every element beyond them is known.

A small value comes out `whole`, and so do all values of a small model: there the nodes of a tap
would cost more than the value itself. What is a curve of a tapped value (`curves`) needs no tap.
Means and extremes of channels are read off the sample. A value of which exact extremes of channels
are wanted, or whose sizes are open, has nodes of its own: `mean` and, where wanted, `low` and
`high`. Of the model's own outputs come only sums: NaN from anywhere mostly ends there, while
extremes and samples can miss it.

ONNX Runtime visits the leaves of a graph from the last node to the first, and runs first what a
leaf needs. Appended in reverse order, every tap runs right behind the value that it reads, while
that is in the cache, and the memory is free again. In other orders all activations stay alive
until the end (mobilenetv2: 1.7 instead of 1.4 times the time of plain inference, 2026-11). So no
leaf may be one that ONNX Runtime writes anew, as it does where it moves a Transpose: the new node
would be the last, and the whole model would run first. A Reshape stops it (YOLOX: 102 instead of
250 MB).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from gossamer.errors import CalibrationError
from gossamer.graph.roots import Means, Root, roots

# inputs of the tapped graph, drawn or adapted anew for every run
START = "gossamer.start"  # where samples begin, modulo their step, [1] int64
ABOVE, BELOW = "gossamer.above", "gossamer.below"  # thresholds of taps with `loud`, [those] float32
INPUTS = (START, ABOVE, BELOW)
SHORT = 16  # rows below this length have too many extremes to tell
WHOLE = 1 << 20  # elements of all values of a small model, 4 MiB
END = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to observe in a graph.

    Attributes:
        values: Names of float32 activations in the main graph of which a range is wanted.
        means: Those of which the mean of each channel is wanted, and the axis of the channels; one
            of unknown rank goes without.
        extremes: Those of `means` of which the extremes of each channel are wanted too. They are
            exact where channels are the last axis, as of tokens, whose outliers are few and huge;
            else those of a sample, where a sample can tell channels apart.
    """

    values: Sequence[str]
    means: Mapping[str, int] = field(default_factory=dict)
    extremes: Collection[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """What one tap tells of one curve of the tapped value.

    Attributes:
        curve: Its name, see `curves`.
        values: Names of the values that it is: the same numbers in other shapes.
        means: Those of them of which means are told.
    """

    curve: str
    values: tuple[str, ...]
    means: tuple[Means, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tap:
    """What comes out of one value.

    Attributes:
        value: Its name.
        images: What it tells of.
        elements: How many it has, as far as known.
        step: Stride of the sample; 1 is all of the value.
        tells_minimum: Whether its minimum comes out; otherwise that is 0.
        outputs: Positions of the graph outputs by part.
    """

    value: str
    images: tuple[Image, ...]
    elements: int
    step: int
    tells_minimum: bool
    outputs: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelTap:
    """What comes out of the channels of one value.

    Attributes:
        value: Its name.
        outputs: Positions of the graph outputs by part: `mean` and perhaps `low` and `high`.
    """

    value: str
    outputs: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taps:
    """All that comes out of a graph.

    Attributes:
        values: Taps of values.
        channels: Taps of channels.
        checks: Positions of sums by the name of the value.
    """

    values: tuple[Tap, ...]
    channels: tuple[ChannelTap, ...]
    checks: Mapping[str, int]


def tap(model: ir.Model, wanted: Wanted, samples: int, dimensions: Mapping[str, int]) -> Taps:
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
    tapped = roots([_activation(known, name) for name in wanted.values], order, samples, dimensions)
    is_small = sum(root.elements for root in tapped.values()) <= WHOLE
    is_whole = {root: is_small or root.step == 1 for root in tapped.values()}
    by_channel = {
        value: axis % len(value.shape)
        for name, axis in wanted.means.items()
        if (value := _activation(known, name)).shape is not None
    }
    means = {
        value: found
        for root in tapped.values()
        for value in itertools.chain(*root.images.values())
        if value in by_channel and not _has_taps(value, by_channel[value], wanted)
        if (found := root.means(value, by_channel[value], extremes=value.name in wanted.extremes))
        is not None
    }

    writer = _Writer(graph, sum(not whole for whole in is_whole.values()))
    ends = [v for v in graph.outputs if v.dtype == ir.DataType.FLOAT and v in order]
    graph.outputs.clear()
    values, channels = [], []
    for value in sorted({*tapped, *by_channel}, key=order.__getitem__):
        writer.begin()
        if root := tapped.get(value):
            whole = is_whole[root]
            outputs = {"whole": writer.output(value)} if whole else _tap(writer, root)
            images = tuple(_image(*image, means) for image in root.images.items())
            values.append(
                Tap(
                    value=value.name or "",
                    images=images,
                    elements=root.elements,
                    step=root.step,
                    tells_minimum=whole or not root.is_nonnegative,
                    outputs=outputs,
                )
            )
        if value in by_channel and value not in means:
            outputs = _channels(writer, value, by_channel[value], value.name in wanted.extremes)
            channels.append(ChannelTap(value=value.name or "", outputs=outputs))
    checks = {v.name or "": _check(writer, v) for v in ends}
    writer.append_reversed()
    return Taps(values=tuple(values), channels=tuple(channels), checks=checks)


def _has_taps(value: ir.Value, axis: int, wanted: Wanted) -> bool:
    """Whether its channels are told exactly, by nodes of their own."""
    return value.name in wanted.extremes and axis == len(value.shape or ()) - 1


def _image(curve: str, values: Sequence[ir.Value], means: Mapping[ir.Value, Means]) -> Image:
    return Image(
        curve=curve,
        values=tuple(value.name or "" for value in values),
        means=tuple(means[value] for value in values if value in means),
    )


def _tap(writer: _Writer, root: Root) -> dict[str, int]:
    above, below = writer.thresholds()
    found = {"sample": writer.sample(root.value, root.step)}
    rows = writer.node("Reshape", root.value, writer.numbers(-1, root.row))
    highs = writer.node("ReduceMax", rows, writer.numbers(1), keepdims=0)
    found["highest"] = highs if root.row >= SHORT else writer.node("ReduceMax", highs)
    is_loud = writer.node("GreaterOrEqual", highs, above)
    if not root.is_nonnegative:
        lows = writer.node("ReduceMin", rows, writer.numbers(1), keepdims=0)
        found["lowest"] = lows if root.row >= SHORT else writer.node("ReduceMin", lows)
        is_loud = writer.node("Or", is_loud, writer.node("Less", lows, below))
    found["loud"] = writer.node("Compress", rows, is_loud, axis=0)
    return {part: writer.output(v) for part, v in found.items()}


def _channels(writer: _Writer, value: ir.Value, axis: int, has_extremes: bool) -> dict[str, int]:
    """Turned around first where channels are the last axis: reducing the others is slow there.

    128x1536 elements on one thread: 207 us for a maximum, 20 and 100 for turning around (2026-11).
    """
    rank = len(value.shape or ())
    others = tuple(i for i in range(rank) if i != axis)
    if axis == rank - 1 and others:
        value = writer.node("Transpose", value, perm=(axis, *others))
        others = tuple(range(1, rank))
    parts = {"mean": "ReduceMean"}
    parts |= {"low": "ReduceMin", "high": "ReduceMax"} if has_extremes else {}
    return {
        part: writer.output(writer.node(op, value, writer.numbers(*others), keepdims=0))
        for part, op in parts.items()
    }


def _check(writer: _Writer, value: ir.Value) -> int:
    writer.begin()
    flat = writer.node("Reshape", value, writer.numbers(-1))
    return writer.output(writer.node("ReduceSum", flat))


class _Writer:
    """Writes the nodes of one tap after the other; they join the graph in reverse order."""

    def __init__(self, graph: ir.Graph, taps: int) -> None:
        self._graph = graph
        self._groups: list[list[ir.Node]] = []
        self._constants: dict[tuple[int, ...], ir.Value] = {}
        self._starts: dict[int, ir.Value] = {}
        self._thresholds: Iterator[tuple[ir.Value, ir.Value]] = iter(())
        if taps:
            self._start = self._input(START, ir.DataType.INT64, 1)
            self._thresholds = zip(
                *(self._split(name, taps) for name in (ABOVE, BELOW)), strict=True
            )

    def begin(self) -> None:
        """A new tap."""
        self._groups.append([])

    def thresholds(self) -> tuple[ir.Value, ir.Value]:
        """The upper and the lower one of the next tap that reads some."""
        return next(self._thresholds)

    def _split(self, name: str, taps: int) -> Sequence[ir.Value]:
        """A new input of the graph, one element for each tap."""
        node = ir.node(
            "Split",
            (self._input(name, ir.DataType.FLOAT, taps),),
            attributes={"num_outputs": taps},
            num_outputs=taps,
        )
        self._graph.append(node)
        return node.outputs

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
        return self.node("Slice", flat, self._start_of(step), end, axis, stride)

    def _start_of(self, step: int) -> ir.Value:
        """The remainder of START by `step`, so that samples begin anywhere in the first step."""
        if step not in self._starts:
            node = ir.node("Mod", (self._start, self.numbers(step)))
            self._graph.append(node)
            self._starts[step] = node.outputs[0]
        return self._starts[step]

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
