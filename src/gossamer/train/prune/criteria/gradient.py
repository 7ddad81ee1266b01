"""The criterion `gradient`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gossamer.train.prune.criterion import Criterion

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Gradient(Criterion):
    """|G|, the gradient summed up since the masks were last updated."""

    needs: ClassVar[Literal["weights", "gradients", "inputs"]] = "gradients"
    is_forgetful: ClassVar[bool] = True

    def gather(self, seen: Tensor, weight: Tensor, given: Tensor) -> None:
        """S ← S + G."""
        seen.add_(given)

    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """|S|."""
        return seen.abs()
