"""The pattern `block`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import RecipeError
from gossamer.train.prune import tiles
from gossamer.train.prune.pattern import Pattern

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Block(Pattern):
    """Dense blocks of `rows` outputs × `columns` inputs: 2x1, 4x1, 16x1, 1x4 and whatever else.

    Attributes:
        rows: Outputs that a block spans.
        columns: Inputs that a block spans.
    """

    rows: int = 4
    columns: int = 1

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise RecipeError(
                "a block of at least 1 x 1",
                f"{self.rows} x {self.columns}",
                "4 x 1 is the default.",
            )

    @property
    def width(self) -> int:
        """The columns of a block."""
        return self.columns

    def refusal(self, outputs: int, inputs: int) -> str:
        """A matrix that is smaller than a block has none."""
        if outputs >= self.rows and inputs >= self.columns:
            return ""
        return f"its {outputs} x {inputs} weights are less than a block of {self._size}"

    def blocks(self, scores: Tensor) -> Tensor:
        """The mean of each block, so that blocks of different sizes compare."""
        return tiles.means(scores, self.rows, self.columns)

    def spread(self, values: Tensor, outputs: int, inputs: int) -> Tensor:
        """Each block's value for all of its weights."""
        return tiles.spread(values, (self.rows, self.columns), outputs, inputs)

    @property
    def _size(self) -> str:
        return f"{self.rows} x {self.columns}"
