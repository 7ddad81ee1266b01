"""How the weight of a product lies: which numbers an input channel is multiplied by."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

# operators whose input channels may come multiplied by factors, and the axis of the channels
CHANNEL_AXES = {"Conv": 1, "MatMul": -1, "Gemm": -1}


def by_output(node: ir.Node, array: NDArray[np.float32]) -> NDArray[np.float32]:
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
