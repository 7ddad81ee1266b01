"""Weights of products as stored integers, by any rounding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.graph.layout import CHANNEL_AXES, PAIR, by_output, pair_sums, restored
from gossamer.graph.refuse import weight_axis
from gossamer.graph.roundings.nearest import Nearest
from gossamer.quant import NUMPY, Grid, QParams, QuantSpec
from gossamer.step import Rounding

if TYPE_CHECKING:
    import onnx_ir as ir

    from gossamer.graph.hessians import Hessians


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounder:
    """How the weights of a graph are rounded.

    Attributes:
        rounding: It.
        hessians: Of what weights are multiplied with, where the rounding asks for it.
    """

    rounding: Rounding = field(default_factory=Nearest)
    hessians: Hessians | None = None

    def stored(
        self,
        node: ir.Node,
        array: NDArray[np.generic],
        numbers: QParams,
        spec: QuantSpec,
        factors: NDArray[np.float32] | None,
    ) -> NDArray[np.generic]:
        """The stored integers of a weight, in its own shape.

        Weights that `layout.by_output` does not know, those of a ConvTranspose, go to the nearest,
        and those whose data is not known, where the rounding asks for it. So do outputs of which
        two neighbouring weights would be more than a 16-bit sum holds.

        Args:
            node: The product.
            array: Its weight.
            numbers: Scales, zero points and their axis.
            spec: How weights are stored.
            factors: What the channels of the data come multiplied by, if by anything.

        Raises:
            RecipeError: The rounding wants other scales or zero points.
        """
        nearest = numbers.quantize(array, spec)
        if isinstance(self.rounding, Nearest) or node.op_type not in CHANNEL_AXES:
            return nearest
        weight = by_output(node, array.astype(np.float32))
        groups, outputs, inputs, places = weight.shape
        scale, zero = (
            np.broadcast_to(part.astype(np.float32).ravel(), groups * outputs).reshape(
                groups, outputs, 1
            )
            for part in (numbers.scale, numbers.zero_point)
        )
        hessians = self._hessians(node, weight, factors)
        if self.rounding.needs_hessian and hessians is None:
            return nearest
        found = np.empty(weight.shape, NUMPY[spec.dtype])
        for group, rows in enumerate(weight.reshape(groups, outputs, -1)):
            grid = Grid(
                scale=scale[group], zero_point=zero[group], size=inputs * places,
                qmin=spec.qmin, qmax=spec.qmax, is_symmetric=True,
            )  # fmt: skip
            hessian = None if hessians is None else hessians[group]
            stored, chosen = self.rounding.round(rows, grid, hessian)
            self._check(grid, chosen)
            found[group] = stored.reshape(outputs, inputs, places)
        axis = weight_axis(node, array.ndim)
        return _safe(restored(node, found, array.shape), nearest, spec, axis)

    def _hessians(
        self, node: ir.Node, weight: NDArray[np.float32], factors: NDArray[np.float32] | None
    ) -> NDArray[np.float32] | None:
        """Of what comes to the weight, multiplied, for each group."""
        if not self.rounding.needs_hessian or self.hessians is None:
            return None
        found = self.hessians.of(node.name or "")
        if found is None or factors is None:
            return found
        each = np.repeat(factors.reshape(len(weight), -1), weight.shape[3], axis=1)
        return found * each[:, :, None] * each[:, None, :]

    def _check(self, grid: Grid, chosen: Grid) -> None:
        same = np.array_equal(grid.scale, chosen.scale)
        if not (same and np.array_equal(grid.zero_point, chosen.zero_point)):
            (name,) = plugins.dump(self.rounding)
            raise RecipeError(
                "a rounding that keeps scales and zero points, which int8 kernels prescribe",
                f"{name}, which chooses its own",
                "Round with nearest or adaround here.",
            )


def _safe(
    stored: NDArray[np.generic],
    nearest: NDArray[np.generic],
    spec: QuantSpec,
    axis: int | None,
) -> NDArray[np.generic]:
    """`stored`, but the nearest ones in output channels whose sums a kernel could cut off."""
    if spec.accumulator != "s16":
        return stored
    is_over = np.asarray(pair_sums(stored.astype(np.float32), axis) > PAIR)
    if axis is not None:
        shape = [1] * stored.ndim
        shape[axis] = -1
        is_over = is_over.reshape(shape)
    safe: NDArray[np.generic] = np.where(is_over, nearest, stored)
    return safe
