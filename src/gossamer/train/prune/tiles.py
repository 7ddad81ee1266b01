"""Matrices in tiles of one size, the last ones smaller where the sizes do not divide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def cut(matrix: Tensor, rows: int, columns: int, fill: float = 0.0) -> Tensor:
    """The matrix as `[tile rows, rows, tile columns, columns]`, filled up at its ends."""
    outputs, inputs = matrix.shape
    below, beside = -outputs % rows, -inputs % columns
    if below or beside:
        matrix = functional.pad(matrix, (0, beside, 0, below), value=fill)
    return matrix.reshape((outputs + below) // rows, rows, (inputs + beside) // columns, columns)


def means(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """The mean of each tile over the numbers that are really there."""
    outputs, inputs = matrix.shape
    sums = cut(matrix, rows, columns).sum(dim=(1, 3))
    if outputs % rows == 0 and inputs % columns == 0:
        return sums / (rows * columns)
    return sums / cut(matrix.new_ones(outputs, inputs), rows, columns).sum(dim=(1, 3))


def spread(values: Tensor, size: tuple[int, int], outputs: int, inputs: int) -> Tensor:
    """Each tile's value in all of its places."""
    rows, columns = size
    tiles = values[:, None, :, None].expand(-1, rows, -1, columns)
    whole = tiles.reshape(values.shape[0] * rows, values.shape[1] * columns)
    return whole[:outputs, :inputs]
