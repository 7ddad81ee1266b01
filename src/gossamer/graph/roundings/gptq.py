"""GPTQ: every rounding error is made up for by the weights that are not yet rounded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossamer.errors import CalibrationError
from gossamer.step import Rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.quant import Grid

BLOCK = 128  # inputs whose corrections reach the rest in one product
SHARES = np.linspace(1, 0.5, 21)[1:]  # of a group's range
NORM = 2.4  # between the square, which outliers rule, and what forgets them


@dataclass(frozen=True, kw_only=True, slots=True)
class Gptq(Rounding):
    """Least error of the outputs: what rounding one input adds is taken off the next ones.

    Frantar et al. 2023, arXiv:2210.17323. Inputs go in the order of their power. Every group keeps
    the grid that it has before the first of them: its range, cut to the share that loses least of
    the weights, by the power of what they are multiplied with. An output for which nearest on the
    whole range is better keeps that. With int4 in groups of 32 stories260k lost 0.25 of its
    perplexity, 0.31 on whole ranges, and 0.58 by rounding to nearest.

    Attributes:
        damping: What is added to the diagonal of the Hessian, as a share of its mean.
    """

    needs_hessian: ClassVar[bool] = True
    damping: float = 0.01

    def round(
        self, weight: NDArray[np.float32], grid: Grid, hessian: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int16], Grid]:
        """Stored numbers with at most the output error of nearest, and their grid.

        Raises:
            CalibrationError: There is no Hessian.
        """
        if hessian is None:
            raise CalibrationError("the Hessian of the weight's input", "none")
        nearest, cut = grid.quantize(weight), _cut(weight, grid, hessian.diagonal())
        order = np.argsort(-hessian.diagonal(), kind="stable")
        try:
            factor = _inverse_factor(hessian[np.ix_(order, order)], self.damping)
        except np.linalg.LinAlgError:
            return nearest, grid
        found = np.empty_like(nearest)
        found[:, order] = _in_turn(weight[:, order], cut, order, factor)
        was, now = _noise(weight, grid, nearest, hessian), _noise(weight, cut, found, hessian)
        is_less = (now < was)[:, None]
        best = replace(
            grid,
            scale=np.where(is_less, cut.scale, grid.scale),
            zero_point=np.where(is_less, cut.zero_point, grid.zero_point),
        )
        return np.where(is_less, found, nearest), best


def _cut(weight: NDArray[np.float32], grid: Grid, power: NDArray[np.float32]) -> Grid:
    """The grid with each group's range cut to the best share of it."""
    starts = np.arange(0, weight.shape[1], grid.size)

    def loss(of: Grid) -> NDArray[np.float32]:
        error = np.abs(weight - of.dequantize(of.quantize(weight))) ** NORM * power
        return np.asarray(np.add.reduceat(error, starts, axis=1), np.float32)

    best, least = grid, loss(grid)
    for share in SHARES:
        tried = replace(grid, scale=(grid.scale * share).astype(np.float32))
        lost = loss(tried)
        best = replace(best, scale=np.where(lost < least, tried.scale, best.scale))
        least = np.minimum(least, lost)
    return best


def _in_turn(
    rest: NDArray[np.float32], grid: Grid, order: NDArray[np.intp], factor: NDArray[np.float32]
) -> NDArray[np.int16]:
    """One input after another: rounded, and its error spread over those behind it.

    Args:
        rest: Weights, inputs in `order`; used up.
        grid: Of the inputs as they lay before.
        order: Of them.
        factor: Upper Cholesky factor of the inverse Hessian, in that order.
    """
    scale, zero = (part[:, order] for part in grid.of_inputs(slice(0, rest.shape[1])))
    found = np.empty(rest.shape, np.int16)
    for begin in range(0, rest.shape[1], BLOCK):
        end = min(begin + BLOCK, rest.shape[1])
        errors = np.empty((len(rest), end - begin), np.float32)
        for i in range(begin, end):
            stored = np.rint(rest[:, i] / scale[:, i]) + zero[:, i]
            found[:, i] = stored = np.clip(stored, grid.qmin, grid.qmax)
            error = (rest[:, i] - (stored - zero[:, i]) * scale[:, i]) / factor[i, i]
            rest[:, i + 1 : end] -= np.outer(error, factor[i, i + 1 : end])
            errors[:, i - begin] = error
        rest[:, end:] -= errors @ factor[begin:end, end:]
    return found


def _inverse_factor(hessian: NDArray[np.float32], damping: float) -> NDArray[np.float32]:
    """The upper Cholesky factor of the inverse of the damped Hessian."""
    damped = hessian.astype(np.float64)
    mean = damped.diagonal().mean()
    damped[np.diag_indices_from(damped)] += damping * mean if mean > 0 else 1.0
    lower = np.linalg.cholesky(np.linalg.inv(damped))
    factor: NDArray[np.float32] = lower.T.astype(np.float32)
    return factor


def _noise(
    weight: NDArray[np.float32],
    grid: Grid,
    stored: NDArray[np.int16],
    hessian: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Mean square error of each output."""
    error = weight - grid.dequantize(stored)
    noise: NDArray[np.float32] = ((error @ hessian) * error).sum(axis=1)
    return noise
