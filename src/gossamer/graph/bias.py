"""Analytic bias correction: biases take back the mean error that rounding weights makes.

Nagel et al. 2019, arXiv:1906.04721. An output channel with weights w, stored as w', is off by
(w - w') E[x] in the mean; that goes into its bias, where there is one, and costs nothing. E[x] is
that of the float model, for each input channel, over all positions: borders, where a Conv reads
zeros, are taken for the inside.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.graph.layout import CHANNEL_AXES, by_output, input_channels
from gossamer.graph.match import sole_consumer


def channel_axes(graph: ir.Graph, names: Iterable[str]) -> dict[str, int]:
    """The axis of input channels of those of the values that a product reads as its data."""
    wanted = set(names)
    return {
        value.name: CHANNEL_AXES[node.op_type]
        for node in graph
        if node.op_type in CHANNEL_AXES
        and (value := node.inputs[0]) is not None
        and value.name in wanted
    }


def bias(node: ir.Node) -> tuple[ir.Node | None, int]:
    """The node that adds the bias of a product, and which of its inputs that is."""
    if node.op_type in {"Conv", "Gemm"}:
        return (node, 2) if len(node.inputs) > 2 else (None, 0)
    behind = sole_consumer(node.outputs[0])
    if node.op_type != "MatMul" or behind is None or behind.op_type != "Add":
        return None, 0
    return behind, 1 if behind.inputs[0] is node.outputs[0] else 0


def mean_error(
    node: ir.Node, error: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """What a product lacks in each output channel, in the mean; None if the channels do not fit.

    Args:
        node: The product.
        error: Its weight minus what is stored of it.
        mean: Of each input channel of what the weight is multiplied with.
    """
    is_matrix = node.op_type == "Conv" or error.ndim == 2
    if not is_matrix or input_channels(node, error) != len(mean):
        return None
    each = by_output(node, error).sum(axis=3)
    found = np.einsum("gmc,gc->gm", each, mean.reshape(len(each), -1), dtype=np.float64)
    return np.asarray(found.ravel(), np.float32)
