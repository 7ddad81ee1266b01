"""How the weight of a product lies: which numbers meet which inputs, and each other."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)
# operators whose input channels may come multiplied by factors, and the axis of the channels
CHANNEL_AXES = {"Conv": 1, "MatMul": -1, "Gemm": -1}
PAIR = 128  # that two weights may have together where products are added in s16 (QuantSpec)


def by_output(node: ir.Node, array: NDArray[Float]) -> NDArray[Float]:
    """The weight of a Conv, MatMul or Gemm as `[groups, outputs, inputs, positions]`, a view.

    Outputs and inputs are those of one group.
    """
    if node.op_type != "Conv":
        rows = array if node.attributes.get_int("transB", 0) else array.T
        return rows[None, :, :, None]
    groups = node.attributes.get_int("group", 1)
    return array.reshape(groups, len(array) // groups, array.shape[1], -1)


def input_channels(node: ir.Node, array: NDArray[np.generic]) -> int:
    """How many channels the product reads."""
    if node.op_type == "Conv":
        return int(array.shape[1]) * node.attributes.get_int("group", 1)
    return int(array.shape[1 if node.attributes.get_int("transB", 0) else 0])


def divided(
    node: ir.Node, array: NDArray[np.generic], factors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The weight for an input whose channels come multiplied by `factors`, in its own layout."""
    weight = array.astype(np.float32)
    if node.op_type != "Conv":
        axis = factors[None, :] if node.attributes.get_int("transB", 0) else factors[:, None]
        return np.asarray(weight / axis, np.float32)
    found = by_output(node, weight) / factors.reshape(node.attributes.get_int("group", 1), 1, -1, 1)
    return np.asarray(found, np.float32).reshape(array.shape)


def restored(
    node: ir.Node, array: NDArray[np.generic], shape: tuple[int, ...]
) -> NDArray[np.generic]:
    """What `by_output` gave, in the layout of the node again."""
    if node.op_type == "Conv":
        return array.reshape(shape)
    rows = array[0, :, :, 0]
    return rows if node.attributes.get_int("transB", 0) else np.ascontiguousarray(rows.T)


def pair_sums(array: NDArray[np.generic], axis: int | None) -> NDArray[np.float32]:
    """Largest |sum| of two weights that a kernel may multiply together, for each output channel.

    Kernels take weights in the order (spatial axes, input channels) of one output channel or of
    one column, four at a time, and add the first two and the last two products. A scale of
    (largest sum) / 127 leaves 1 for the two roundings, so that no pair exceeds 128. Without a
    channel axis the order is not known, and any two may meet.
    """
    if axis is None:
        return np.asarray(2 * np.abs(array).max(), np.float32)
    channels = np.moveaxis(array.astype(np.float32), axis, 0)
    if axis < array.ndim - 1:  # of a Conv: channels, inputs, spatial axes
        channels = np.moveaxis(channels, 1, -1)
    rows = channels.reshape(array.shape[axis], -1)
    sums: NDArray[np.float32] = np.abs(rows[:, 1:] + rows[:, :-1]).max(axis=1, initial=0)
    return sums
