"""The pattern `n-of-m`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import RecipeError
from gossamer.train.prune import tiles
from gossamer.train.prune.pattern import Pattern

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class NOfM(Pattern):
    """At least `zeros` zeros in every `of` weights of an output that stand side by side.

    2 of 4 is what the sparse tensor cores of GPUs run. A sparsity below `zeros / of` is reached by
    fewer groups; a higher one is refused. Where the inputs do not divide, the last group is filled
    up with zeros that count.

    Attributes:
        zeros: Weights of a group that become zero.
        of: Weights of a group.
    """

    zeros: int = 2
    of: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.zeros < self.of:
            raise RecipeError(
                "zeros between 0 and of",
                f"{self.zeros} zeros of {self.of}",
                "2 of 4 is what sparse tensor cores run.",
            )

    @property
    def share(self) -> float:
        """`zeros / of`."""
        return self.zeros / self.of

    @property
    def width(self) -> int:
        """One group."""
        return self.of

    def refusal(self, outputs: int, inputs: int) -> str:
        """Less than a group cannot be pruned by groups."""
        return "" if inputs >= self.of else f"its {inputs} inputs are less than a group"

    def blocks(self, scores: Tensor) -> Tensor:
        """The mean of those of each group that would become zero; what fills up loses nothing."""
        return self._groups(scores, 0.0).topk(self.zeros, dim=2, largest=False).values.mean(dim=2)

    def spread(self, values: Tensor, outputs: int, inputs: int) -> Tensor:
        """Each group's value for all of its weights."""
        return tiles.spread(values, (1, self.of), outputs, inputs)

    def hidden(self, chosen: Tensor, scores: Tensor) -> Tensor:
        """The least of each chosen group; of equal ones the first."""
        groups = self._groups(scores, -float("inf"))  # what fills up is zero already
        rank = groups.argsort(dim=2, stable=True).argsort(dim=2)
        outputs, inputs = scores.shape
        return ((rank < self.zeros) & chosen[:, :, None]).reshape(outputs, -1)[:, :inputs]

    def _groups(self, scores: Tensor, fill: float) -> Tensor:
        return tiles.cut(scores, 1, self.of, fill).squeeze(1)
