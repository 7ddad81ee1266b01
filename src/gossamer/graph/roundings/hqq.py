"""HQQ: half-quadratic search for zero points and scales under a norm that forgives outliers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gossamer.step import Rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.quant import Grid

NORM = 0.7
BETA, GROWTH = 10.0, 1.01  # weight of the quadratic term, and what it grows by


@dataclass(frozen=True, kw_only=True, slots=True)
class Hqq(Rounding):
    """Least sum of errors to the power of 0.7 over each group's weights; needs no data.

    Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models". Errors are
    split into a sparse part, found by shrinking, and a rest, for which the best zero point is known
    in closed form, and the best scale as well. Zero points stay whole numbers, as runtimes store
    them, and every group keeps the best that it met.

    Attributes:
        rounds: Of the alternation.
    """

    rounds: int = 20

    def round(
        self,
        weight: NDArray[np.float32],
        grid: Grid,
        hessian: NDArray[np.float32] | None,  # noqa: ARG002 - it looks at no data
    ) -> tuple[NDArray[np.int16], Grid]:
        """Nearest on the best grids found."""
        starts = np.arange(0, weight.shape[1], grid.size)
        known, best, least, beta = grid, grid, _loss(weight, grid, starts), BETA
        for _ in range(self.rounds):
            stored = known.quantize(weight).astype(np.float32)
            scale, zero = known.of_inputs(weight.shape[1])
            error = weight / scale - (stored - zero)  # in steps, whatever the weights' size
            target = weight - _shrunk(error, beta) * scale
            known = _refitted(known, stored, target, starts)
            loss = _loss(weight, known, starts)
            is_better = loss < least
            best = replace(
                best,
                scale=np.where(is_better, known.scale, best.scale),
                zero_point=np.where(is_better, known.zero_point, best.zero_point),
            )
            least, beta = np.minimum(loss, least), beta * GROWTH
        return best.quantize(weight), best


def _shrunk(error: NDArray[np.float32], beta: float) -> NDArray[np.float32]:
    """The sparse part of an error in steps: the generalised soft threshold for the norm."""
    size = np.abs(error)
    threshold = np.power(np.maximum(size, 1e-12), NORM - 1) / beta
    return np.asarray(np.sign(error) * np.maximum(size - threshold, 0), np.float32)


def _refitted(
    grid: Grid,
    stored: NDArray[np.float32],
    target: NDArray[np.float32],
    starts: NDArray[np.int64],
) -> Grid:
    """The zero point, then the scale, that bring stored numbers closest to the target."""
    counts = np.diff([*starts, stored.shape[1]]).astype(np.float32)
    scale, _ = grid.of_inputs(stored.shape[1])
    mean = np.add.reduceat(stored - target / scale, starts, axis=1) / counts
    zero = np.clip(np.rint(mean), grid.qmin, grid.qmax).astype(np.float32)
    moved = grid if grid.is_symmetric else replace(grid, zero_point=zero)
    centred = stored - moved.of_inputs(stored.shape[1])[1]
    power = np.add.reduceat(centred * centred, starts, axis=1)
    fit = np.add.reduceat(centred * target, starts, axis=1) / np.where(power > 0, power, 1)
    return replace(moved, scale=np.where(fit > 0, fit, grid.scale).astype(np.float32))


def _loss(
    weight: NDArray[np.float32], grid: Grid, starts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Sum of |error|**NORM of each group."""
    error = np.abs(weight - grid.dequantize(grid.quantize(weight)))
    loss: NDArray[np.float32] = np.add.reduceat(error**NORM, starts, axis=1)
    return loss
