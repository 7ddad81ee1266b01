"""The criterion `movement`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gossamer.train.prune.criterion import Criterion

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement(Criterion):
    """Whether training moves a weight away from zero: S ← S - W·G.

    Sanh et al. 2020, arXiv:2005.07683. For models that were trained on another task before.
    """

    needs: ClassVar[Literal["weights", "gradients", "inputs"]] = "gradients"

    def gather(self, seen: Tensor, weight: Tensor, given: Tensor) -> None:
        """S ← S - W·G."""
        seen.addcmul_(weight.float(), given.float(), value=-1)

    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """S, which can be negative."""
        return seen
