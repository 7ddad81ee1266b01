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
AT_ONCE = 1 << 22  # weights, 16 MiB
SHARES = np.linspace(0.98, 0.7, 15, dtype=np.float32)  # of a group's range


@dataclass(frozen=True, kw_only=True, slots=True)
class Gptq(Rounding):
    """Least error of the outputs: what rounding one input adds is taken off the next ones.

    Frantar et al. 2023, arXiv:2210.17323. Inputs go in the order of their power. Every group keeps
    the grid that it has before the first of them: its range, cut to the share that loses least of
    the weights, by the power of what they are multiplied with. An output for which nearest on the
    whole range is better keeps that. With int4 in groups of 32 stories260k lost 0.26 of its
    perplexity, and 0.64 by rounding to nearest.

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
        order = np.argsort(-hessian.diagonal(), kind="stable")
        try:
            factor = _inverse_factor(hessian[np.ix_(order, order)], self.damping)
        except np.linalg.LinAlgError:
            return grid.quantize(weight), grid
        step = max(1, AT_ONCE // weight.shape[1])
        parts = []
        for first in range(0, len(weight), step):
            rows = slice(first, first + step)
            own = replace(grid, scale=grid.scale[rows], zero_point=grid.zero_point[rows])
            parts.append(_rounded(weight[rows], own, hessian, (order, factor)))
        numbers, scales, zeros = (np.concatenate(part) for part in zip(*parts, strict=True))
        return numbers, replace(grid, scale=scales, zero_point=zeros)


def _rounded(
    weight: NDArray[np.float32],
    grid: Grid,
    hessian: NDArray[np.float32],
    ordered: tuple[NDArray[np.intp], NDArray[np.float32]],
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32]]:
    """Stored numbers, scales and zero points of some outputs: they know nothing of the others."""
    nearest, cut = grid.quantize(weight), _cut(weight, grid, hessian.diagonal())
    order, factor = ordered
    found = np.empty_like(nearest)
    found[:, order] = _in_turn(weight[:, order], cut, order, factor)
    was, now = _noise(weight, grid, nearest, hessian), _noise(weight, cut, found, hessian)
    is_less = (now < was)[:, None]
    return (
        np.where(is_less, found, nearest),
        np.where(is_less, cut.scale, grid.scale),
        np.where(is_less, cut.zero_point, grid.zero_point),
    )


def _cut(weight: NDArray[np.float32], grid: Grid, power: NDArray[np.float32]) -> Grid:
    """The grid with each group's range cut to the best share of it."""
    outputs, groups = grid.scale.shape
    rest = ((0, 0), (0, groups * grid.size - weight.shape[1]))  # zeros, which lose nothing
    grouped = np.pad(weight, rest).reshape(outputs, groups, grid.size)
    powers = np.pad(power[None], rest).reshape(groups, grid.size)
    zero = grid.zero_point[:, :, None]

    def loss(scale: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum of |error|**2.5: between the square, which outliers rule, and what forgets them."""
        stored = np.clip(np.rint(grouped / scale[:, :, None]) + zero, grid.qmin, grid.qmax)
        error = np.abs(grouped - (stored - zero) * scale[:, :, None])
        return np.asarray((error * error * np.sqrt(error) * powers).sum(axis=2), np.float32)

    best, least = grid.scale, loss(grid.scale)
    for share in SHARES:
        lost = loss(grid.scale * share)
        best = np.where(lost < least, grid.scale * share, best)
        least = np.minimum(least, lost)
    return replace(grid, scale=best)


def _in_turn(
    weight: NDArray[np.float32], grid: Grid, order: NDArray[np.intp], factor: NDArray[np.float32]
) -> NDArray[np.int16]:
    """One input after another: rounded, and its error spread over those behind it.

    Args:
        weight: Inputs in `order`.
        grid: Of the inputs as they lay before.
        order: Of them.
        factor: Upper Cholesky factor of the inverse Hessian, in that order.
    """
    scale, zero = (
        np.ascontiguousarray(part[:, order].T) for part in grid.of_inputs(weight.shape[1])
    )
    rest = np.array(weight.T, order="C")  # one input after another in memory
    found = np.empty(rest.shape, np.int16)
    for begin in range(0, len(rest), BLOCK):
        end = min(begin + BLOCK, len(rest))
        errors = np.empty((end - begin, rest.shape[1]), np.float32)
        for i in range(begin, end):
            stored = np.clip(np.rint(rest[i] / scale[i]) + zero[i], grid.qmin, grid.qmax)
            error = (rest[i] - (stored - zero[i]) * scale[i]) / factor[i, i]
            rest[i + 1 : end] -= np.outer(factor[i, i + 1 : end], error)
            found[i], errors[i - begin] = stored, error
        rest[end:] -= factor[begin:end, end:].T @ errors
    return found.T


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
