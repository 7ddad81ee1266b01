"""Mean of x xᵀ over the data x that each weight is multiplied with: what roundings ask for.

The one calibration pass (`calibrate`) cannot give it: it runs before anybody has said how weights
are rounded and keeps what all recipes need in a few kilobytes for each value, while a Conv of 512
channels, 3x3, has 85 MB of products here. So the float model runs again over the calibration
samples, in a process of its own, once for as many sites as `LIMIT` has room for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.errors import CalibrationError
from gossamer.graph.child import Child, serving
from gossamer.graph.layout import CHANNEL_AXES
from gossamer.graph.match import constant

if TYPE_CHECKING:
    from gossamer.runtime import Feed

LIMIT = 256 << 20  # bytes of the sums that one pass makes, unless a single site needs more
POSITIONS = 64  # of each value and sample that count, spread over all of them
ROWS = 512  # that are gathered before they are multiplied
TURN = (5**0.5 - 1) / 2  # multiples of it, without the whole part, fill [0, 1) evenly


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What a product reads, and how.

    Attributes:
        value: Name of its data.
        groups: In how many parts its input channels are multiplied, each with weights of its own.
        inputs: What one output of a group is made of: channels times places of the kernel.
        kernel: Size of the kernel of a Conv along each axis; nothing for matrices, as the next.
        strides: Of the kernel.
        dilations: Of the kernel.
        pads: Zeros in front of and behind each axis, as in ONNX; none where `same` tells them.
        same: `SAME_UPPER` or `SAME_LOWER`, else empty.
    """

    value: str
    groups: int = 1
    inputs: int
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    same: str = ""

    @classmethod
    def of(cls, node: ir.Node) -> Window | None:
        """None where the node is no product of data and a constant that `layout` knows."""
        tensor = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        value = node.inputs[0] if node.inputs else None
        if node.op_type not in CHANNEL_AXES or node.domain or tensor is None or value is None:
            return None
        name, shape = value.name or "", tuple(int(d) for d in tensor.shape.numpy())
        if node.op_type != "Conv":
            is_turned = node.attributes.get_int("transB", 0)
            return cls(value=name, inputs=shape[1 if is_turned else 0])
        rank = len(shape) - 2
        same = node.attributes.get_string("auto_pad", "NOTSET")
        return cls(
            value=name,
            groups=node.attributes.get_int("group", 1),
            inputs=prod(shape[1:]),
            kernel=shape[2:],
            strides=tuple(node.attributes.get_ints("strides", [1] * rank)),
            dilations=tuple(node.attributes.get_ints("dilations", [1] * rank)),
            pads=tuple(node.attributes.get_ints("pads", [0] * 2 * rank)),
            same=same if same.startswith("SAME") else "",
        )

    @property
    def nbytes(self) -> int:
        """Of the sums."""
        return self.groups * self.inputs**2 * np.dtype(np.float32).itemsize

    def rows(self, x: NDArray[np.generic], sample: int) -> NDArray[np.float32]:
        """What weights are multiplied with at some positions, `[groups, positions, inputs]`.

        Args:
            x: The value for one sample.
            sample: Its number, with which the positions change.
        """
        data = x.astype(np.float32, copy=False)
        if not self.kernel:
            flat = data.reshape(-1, data.shape[-1])
            return flat[_spread(len(flat), sample)][None]
        sizes = data.shape[2:]
        pads = self._same_pads(sizes) if self.same else self.pads
        rank = len(self.kernel)
        borders = zip(pads[:rank], pads[rank:], strict=True)
        padded = np.pad(data, ((0, 0), (0, 0), *borders))
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        counts = [
            (size - r) // stride + 1
            for size, r, stride in zip(padded.shape[2:], reach, self.strides, strict=True)
        ]
        shape = (len(data), *counts)
        batch, *corners = np.unravel_index(_spread(prod(shape), sample), shape)
        offsets = np.indices(self.kernel).reshape(rank, -1)
        places = [
            corner[:, None] * stride + offset * dilation
            for corner, stride, offset, dilation in zip(
                corners, self.strides, offsets, self.dilations, strict=True
            )
        ]
        # positions, then places of the kernel, then channels
        found = np.moveaxis(padded, 1, -1)[(batch[:, None], *places)]
        found = found.transpose(0, 2, 1).reshape(len(batch), self.groups, -1)
        return np.ascontiguousarray(found.transpose(1, 0, 2))

    def _same_pads(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """So that there are ceil(size / stride) positions along each axis."""
        whole = [
            max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            for size, k, stride, dilation in zip(
                sizes, self.kernel, self.strides, self.dilations, strict=True
            )
        ]
        less, more = tuple(w // 2 for w in whole), tuple(w - w // 2 for w in whole)
        return (*less, *more) if self.same == "SAME_UPPER" else (*more, *less)


class Hessians:
    """Mean of x xᵀ for one site after the other.

    What is asked for together is made together: from the site that is asked for on, as many as
    there is room for.
    """

    def __init__(
        self, child: Child, windows: dict[str, Window], feeds: Callable[[], Iterator[Feed]]
    ) -> None:
        self._child, self._windows, self._feeds = child, windows, feeds
        self._found: dict[Window, NDArray[np.float32]] = {}

    def of(self, site: str) -> NDArray[np.float32] | None:
        """`[groups, inputs, inputs]` of a site; None where it is no product that `Window` knows.

        Inputs are in the order of `layout.by_output`: channels, then places of the kernel. Every
        sample counts with `POSITIONS` positions at most; there the zeros of a Conv's border count
        as the rest does.

        Raises:
            CalibrationError: No samples, NaN or Inf in them, or the model does not run.
        """
        window = self._windows.get(site)
        if window is None:
            return None
        if window not in self._found:
            self._found.clear()
            self._found = _means(self._child, self._chunk(window), self._feeds())
        return self._found[window]

    def _chunk(self, first: Window) -> list[Window]:
        """The windows of one pass."""
        order = list(dict.fromkeys(self._windows.values()))
        chunk, room = [first], LIMIT - first.nbytes
        for window in order[order.index(first) + 1 :]:
            room -= window.nbytes
            if room < 0:
                break
            chunk.append(window)
        return chunk


@contextlib.contextmanager
def opened(
    model: ir.Model, sites: Sequence[str], feeds: Callable[[], Iterator[Feed]]
) -> Iterator[Hessians]:
    """The Hessians of some sites of `model`, as it is now, while the block lasts.

    Args:
        model: A float model that ONNX Runtime can run; it may change within the block.
        sites: Names of nodes, in the order in which they will be asked for.
        feeds: Makes the calibration samples.

    Raises:
        CalibrationError: The model does not run.
        StorageError: No room for a temporary copy of it.
    """
    nodes = {node.name: node for node in model.graph}
    windows = {s: w for s in sites if (w := Window.of(nodes[s])) is not None}
    with serving(model, {window.value for window in windows.values()}) as child:
        yield Hessians(child, windows, feeds)


def _means(
    child: Child, windows: Sequence[Window], feeds: Iterator[Feed]
) -> dict[Window, NDArray[np.float32]]:
    """One pass over all samples."""
    sums = {w: np.zeros((w.groups, w.inputs, w.inputs), np.float32) for w in windows}
    counts = dict.fromkeys(windows, 0)
    waiting: dict[Window, list[NDArray[np.float32]]] = {w: [] for w in windows}
    names = {w.value for w in windows}
    for sample, feed in enumerate(feeds):
        inner = sorted(names - feed.keys())
        values = {**feed, **(child.values(inner, feed) if inner else {})}
        for window, rows in waiting.items():
            rows.append(window.rows(values[window.value], sample))
            if sum(part.shape[1] for part in rows) >= ROWS:
                counts[window] += _add(sums[window], rows)
    for window, rows in waiting.items():
        counts[window] += _add(sums[window], rows) if rows else 0
        if not counts[window]:
            raise CalibrationError("at least one calibration sample", "none", "Give some data.")
        sums[window] /= counts[window]
        if not np.isfinite(sums[window]).all():
            raise CalibrationError(
                f"finite numbers in {window.value!r}",
                "NaN or Inf for a calibration sample",
                "Repair or remove that sample.",
            )
    return sums


def _add(total: NDArray[np.float32], rows: list[NDArray[np.float32]]) -> int:
    """Put what was gathered into the sums; how many positions that was."""
    data = np.concatenate(rows, axis=1)
    rows.clear()
    total += np.matmul(data.transpose(0, 2, 1), data)
    return int(data.shape[1])


def _spread(count: int, sample: int) -> NDArray[np.int64]:
    """`POSITIONS` of so many positions, others for each sample; all if there are no more."""
    if count <= POSITIONS:
        return np.arange(count)
    turns = (np.arange(POSITIONS) + sample * POSITIONS) * TURN
    return np.asarray(turns % 1.0 * count, np.int64)
