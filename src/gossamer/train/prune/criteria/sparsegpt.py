"""The criterion `sparsegpt`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from gossamer.errors import RecipeError
from gossamer.train.prune.criterion import INFINITE, PART, Choice, Criterion

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Sparsegpt(Criterion):
    """Least error of the outputs; the weights that stay make up for those that go.

    Frantar and Alistarh 2023, arXiv:2301.00774. With U the upper Cholesky factor of (E[x xᵀ] + λ)⁻¹
    a weight is worth w² / U_jj². Inputs go from the left to the right; what becomes zero is chosen
    anew every 128 of them, or in every group of N:M. One pass over the data, through the model as
    it was; no training.

    Attributes:
        damping: λ, as a share of the mean of the diagonal.
    """

    needs: ClassVar[Literal["weights", "gradients", "inputs"]] = "inputs"
    compares: ClassVar[Literal["layers", "layer", "outputs"]] = "layer"
    damping: float = 0.01

    def __post_init__(self) -> None:
        if not self.damping > 0:
            raise RecipeError("a damping above 0", f"{self.damping}", "0.01 is the default.")

    def begin(self, weight: Tensor) -> Tensor:
        """Zeros, `[inputs, inputs]`."""
        return weight.new_zeros(weight.shape[1], weight.shape[1]).float()

    def gather(self, seen: Tensor, weight: Tensor, given: Tensor) -> None:
        """H ← H + xᵀ x."""
        rows = given.float()
        seen.addmm_(rows.T, rows)

    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """w² / U_jj², before anything is made up for."""
        return (weight.float() / self._factor(seen).diagonal()).square()

    def prune(
        self, weight: Tensor, seen: Tensor, kept: Tensor, choice: Choice
    ) -> tuple[Tensor, Tensor]:
        """The weights that stay, changed to make up for the others, and where those were."""
        weight, factor = weight.clone(), self._factor(seen)
        hidden = torch.zeros_like(kept)
        inputs = weight.shape[1]
        together = choice.together or inputs
        slab = max(PART - PART % together, together)
        for first in range(0, inputs, slab):
            last = min(first + slab, inputs)
            errors = weight.new_zeros(len(weight), last - first)
            for j in range(first, last):
                if (j - first) % together == 0:
                    part = slice(j, min(j + together, last))
                    scores = (weight[:, part] / factor.diagonal()[part]).square()
                    scores.masked_fill_(~kept[:, part], -INFINITE)
                    hidden[:, part] = choice.hidden(scores, j)
                error = weight[:, j] * hidden[:, j] / factor[j, j]
                weight[:, j:last] -= error[:, None] * factor[j, j:last]
                errors[:, j - first] = error
            weight[:, last:] -= errors @ factor[first:last, last:]
        return weight.masked_fill_(hidden, 0), hidden

    def _factor(self, seen: Tensor) -> Tensor:
        """The upper U with UᵀU = (H + λ)⁻¹, worked out in float64."""
        damped = seen.to(torch.float64, copy=True)
        mean = damped.diagonal().mean()
        damped.diagonal().add_(self.damping * mean if mean > 0 else 1)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
        factor: Tensor = torch.linalg.cholesky(inverse, upper=True).to(seen.dtype)
        return factor
