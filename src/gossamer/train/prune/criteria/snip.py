"""The criterion `snip`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gossamer.train.prune.criterion import Criterion

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Snip(Criterion):
    """|W·G|, what the loss changes by without the weight, to first order.

    Lee et al. 2019, arXiv:1810.02340. G is summed up since the masks were last updated.
    """

    needs: ClassVar[Literal["weights", "gradients", "inputs"]] = "gradients"
    is_forgetful: ClassVar[bool] = True

    def gather(self, seen: Tensor, weight: Tensor, given: Tensor) -> None:
        """S ← S + G."""
        seen.add_(given)

    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """|W·S|."""
        return (weight.float() * seen).abs()
