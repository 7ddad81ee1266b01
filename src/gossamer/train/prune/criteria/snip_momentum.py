"""The criterion `snip-momentum`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gossamer.errors import RecipeError
from gossamer.train.prune.criterion import Criterion

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class SnipMomentum(Criterion):
    """|W·G| of every step, those of long ago counting less: S ← β S + |W·G|.

    Attributes:
        momentum: β, what of S is left a step later.
    """

    needs: ClassVar[Literal["weights", "gradients", "inputs"]] = "gradients"
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise RecipeError(
                "a momentum of at least 0 and less than 1",
                f"{self.momentum}",
                "0.9 is the default.",
            )

    def gather(self, seen: Tensor, weight: Tensor, given: Tensor) -> None:
        """S ← β S + |W·G|."""
        seen.mul_(self.momentum).add_((weight.float() * given.float()).abs_())

    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """S."""
        return seen
