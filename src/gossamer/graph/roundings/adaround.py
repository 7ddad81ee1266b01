"""Floor or ceiling of each weight, whichever makes the least error in the outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossamer.step import Rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.quant import Grid

BLOCK = 64  # inputs between which what a choice changes is kept up to date one by one
DAMPING = 0.01  # of the mean of H's diagonal, so that it has a Cholesky factor
SWEEPS = 20  # at most
LITTLE = 0.01  # of the noise: a sweep that takes away less is the last


@dataclass(frozen=True, kw_only=True, slots=True)
class Adaround(Rounding):
    """Each weight goes up or down, whichever makes the least error in the outputs (AdaRound).

    Nagel et al. 2020, arXiv:2004.10568: of the two stored numbers beside each weight w, those are
    taken with which Δw H Δwᵀ is least, H = E[x xᵀ]. The paper relaxes this binary problem and runs
    Adam. Here inputs are rounded one after the other, each so that it makes up for the error of
    those before it (with H = R Rᵀ, Δw R is summed up from the left; Chee et al. 2023,
    arXiv:2307.13304, section 3); then weights flip wherever that takes noise away, until little
    changes.

    Why not Adam: for four Convs of ResNet-20 in int8, with 144, 288, 576 and 576 inputs, this
    leaves 15, 39, 43 and 61 % of the noise that nearest leaves on images that H was not made from,
    in 0.03 to 0.16 s; 10,000 iterations of Adam in torch leave 28, 41, 38 and 56 % in 6 to 139 s,
    1,000 of them 38, 57, 40 and 57 % in 1 to 4 s (two cores, 2026-11-23). Weights that flip from
    the nearest numbers on, without the first part, come to 25, 47, 49 and 64 %.
    """

    needs_hessian: ClassVar[bool] = True

    def round(
        self, weight: NDArray[np.float32], grid: Grid, hessian: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int16], Grid]:
        """The stored numbers, each one of the two beside its weight, and the grid as it was.

        No output has more noise than with the nearest numbers.
        """
        assert hessian is not None  # it asks for one
        nearest = grid.quantize(weight)
        if not np.trace(hessian) > 0:
            return nearest, grid
        choice = _Choice.between(weight, grid)
        choice.make_up(hessian)
        choice.descend(hessian)
        chosen = np.array(choice.stored.T, np.int16)
        before, after = (
            _noise(weight - grid.dequantize(stored), hessian) for stored in (nearest, chosen)
        )
        return np.where((after <= before)[:, None], chosen, nearest), grid


def _noise(error: NDArray[np.float32], hessian: NDArray[np.float32]) -> NDArray[np.float64]:
    """Δw H Δwᵀ of each output."""
    found: NDArray[np.float64] = np.einsum("oi,oi->o", error @ hessian, error, dtype=np.float64)
    return found


@dataclass(kw_only=True, slots=True)
class _Choice:
    """One of two stored numbers for each weight; all arrays are `[inputs, outputs]`.

    Attributes:
        low: The stored number below the weight.
        high: The one above it; the same where the weight is one, or out of reach.
        scale: What a step is worth.
        error: The weight minus what is stored of it, at first of the lower one.
        stored: What is chosen.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    scale: NDArray[np.float32]
    error: NDArray[np.float32]
    stored: NDArray[np.float32]

    @classmethod
    def between(cls, weight: NDArray[np.float32], grid: Grid) -> _Choice:
        scale, zero = grid.of_inputs(weight.shape[1])
        exact = weight / scale + zero
        low, high = (
            np.clip(neighbour(exact), grid.qmin, grid.qmax) for neighbour in (np.floor, np.ceil)
        )
        error = weight - (low - zero) * scale
        parts = (np.array(part.T, np.float32, order="C") for part in (low, high, scale, error))
        low, high, scale, error = parts
        return cls(low=low, high=high, scale=scale, error=error, stored=low.copy())

    def make_up(self, hessian: NDArray[np.float32]) -> None:
        """Choose from the first input to the last, against the error of those before."""
        root = _upper_root(hessian)
        before = np.zeros_like(self.error)  # Σ Δw_i R_ij over the inputs i before j
        for block, rest in self._blocks():
            for j in range(block.start, block.stop):
                wanted = self.error[j] + before[j] / root[j, j]
                is_up = (2 * wanted > self.scale[j]) & (self.high[j] > self.low[j])
                self.stored[j] = np.where(is_up, self.high[j], self.low[j])
                self.error[j] -= np.where(is_up, self.scale[j], 0)
                before[block] += root[j, block, None] * self.error[j]
            before[rest] += root[block, rest].T @ self.error[block]

    def descend(self, hessian: NDArray[np.float32]) -> None:
        """Flip choices as long as that takes noise away."""
        before = np.inf
        for _ in range(SWEEPS):
            slope = hessian @ self.error  # anew: the sums of a sweep drift
            noise = float(np.einsum("io,io->", slope, self.error, dtype=np.float64))
            if noise > (1 - LITTLE) * before:
                break
            before = noise
            for block, rest in self._blocks():
                change = self._flip(block, slope, hessian[block, block])
                slope[rest] += hessian[rest, block] @ change

    def _flip(
        self, block: slice, slope: NDArray[np.float32], hessian: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """What the errors of a block become larger by; `slope` is kept up to date in the block."""
        change = np.zeros_like(slope[block])
        for i, j in enumerate(range(block.start, block.stop)):
            other = self.low[j] + self.high[j] - self.stored[j]
            step = (self.stored[j] - other) * self.scale[j]
            gains = step * (2 * slope[j] + step * hessian[i, i]) < 0
            if gains.any():
                self.stored[j] = np.where(gains, other, self.stored[j])
                change[i] = np.where(gains, step, 0)
                slope[block] += hessian[:, i, None] * change[i]
        self.error[block] += change
        return change

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Each block of inputs, and the inputs behind it."""
        inputs = len(self.error)
        for first in range(0, inputs, BLOCK):
            last = min(first + BLOCK, inputs)
            yield slice(first, last), slice(last, inputs)


def _upper_root(hessian: NDArray[np.float32]) -> NDArray[np.float32]:
    """An upper triangular R with R Rᵀ = H, damped."""
    damped = hessian[::-1, ::-1].astype(np.float64)
    damped[np.diag_indices_from(damped)] += DAMPING * np.trace(damped) / len(damped)
    return np.linalg.cholesky(damped)[::-1, ::-1].astype(np.float32)
