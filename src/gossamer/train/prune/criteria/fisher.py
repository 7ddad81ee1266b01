"""The criterion `fisher`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gossamer.train.prune.criterion import Criterion

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Fisher(Criterion):
    """Σ (W·G)²: what the loss changes by, to second order, with the diagonal of the Fisher matrix.

    Theis et al. 2018, arXiv:1801.05787, with the gradients of batches in place of samples.
    """

    needs: ClassVar[Literal["weights", "gradients", "inputs"]] = "gradients"

    def gather(self, seen: Tensor, weight: Tensor, given: Tensor) -> None:
        """S ← S + (W·G)²."""
        change = weight.float() * given.float()
        seen.addcmul_(change, change)

    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """S."""
        return seen
