"""The pattern `unstructured`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.train.prune.pattern import Pattern

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Unstructured(Pattern):
    """Every weight by itself: least loss of accuracy, and smaller files when they are packed.

    Runtimes without kernels for sparse matrices are not faster.
    """

    def blocks(self, scores: Tensor) -> Tensor:
        """The scores themselves."""
        return scores

    def spread(self, values: Tensor, outputs: int, inputs: int) -> Tensor:
        """The values themselves."""
        return values
