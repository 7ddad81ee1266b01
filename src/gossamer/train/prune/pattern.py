"""What a pattern is: which weights of a matrix become zero together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern(ABC):
    """One shape of what becomes zero together; weights are matrices `[outputs, inputs]`.

    The inputs of a Conv are its kernel positions, row by row, with the channels of each position
    side by side (channels innermost), as kernels for channels-last tensors and 2:4 read them. What
    does not divide ends in smaller blocks, as if the matrix went on with zeros.
    """

    @property
    def share(self) -> float:
        """Share of a chosen block's weights that become zero."""
        return 1.0

    @property
    def width(self) -> int:
        """Inputs that a block spans; 0 for all."""
        return 1

    def refusal(self, outputs: int, inputs: int) -> str:
        """Why a matrix of this size cannot take the pattern; empty if it can."""
        return ""

    @abstractmethod
    def blocks(self, scores: Tensor) -> Tensor:
        """What each block is worth: the mean over what would become zero, `[rows, columns]`."""

    @abstractmethod
    def spread(self, values: Tensor, outputs: int, inputs: int) -> Tensor:
        """One value for each block, given to all of its weights: `[outputs, inputs]`."""

    def hidden(self, chosen: Tensor, scores: Tensor) -> Tensor:
        """Which weights become zero, `[outputs, inputs]`, if these blocks are chosen."""
        return self.spread(chosen, *scores.shape)
