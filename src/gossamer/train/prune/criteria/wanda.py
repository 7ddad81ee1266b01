"""The criterion `wanda`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gossamer.train.prune.criterion import Criterion

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanda(Criterion):
    """|W|·‖x‖₂, by the norm of what each input is over the data, within each output.

    Sun et al. 2023, arXiv:2306.11695. Needs some batches and no training; every output loses the
    same share of its weights.
    """

    needs: ClassVar[Literal["weights", "gradients", "inputs"]] = "inputs"
    compares: ClassVar[Literal["layers", "layer", "outputs"]] = "outputs"

    def begin(self, weight: Tensor) -> Tensor:
        """A zero for each input."""
        return weight.new_zeros(weight.shape[1]).float()

    def gather(self, seen: Tensor, weight: Tensor, given: Tensor) -> None:
        """S ← S + Σ x²."""
        seen.add_(given.float().square().sum(dim=0))

    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """|W|·√S."""
        return weight.float().abs() * seen.sqrt()
