"""The pattern `channel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gossamer.train.prune.pattern import Pattern

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel(Pattern):
    """Whole outputs, or whole inputs, of a layer.

    An input of a Conv is one channel at one position of its kernel.

    Attributes:
        of: What becomes zero: all weights of an output, or all that an input is multiplied with.
    """

    of: Literal["outputs", "inputs"] = "outputs"

    @property
    def width(self) -> int:
        """All inputs, or one."""
        return 0 if self.of == "outputs" else 1

    def refusal(self, outputs: int, inputs: int) -> str:
        """Of one channel nothing would be left."""
        count = outputs if self.of == "outputs" else inputs
        return "" if count > 1 else f"it has only one of its {self.of}"

    def blocks(self, scores: Tensor) -> Tensor:
        """The mean of each channel."""
        return scores.mean(dim=1 if self.of == "outputs" else 0, keepdim=True)

    def spread(self, values: Tensor, outputs: int, inputs: int) -> Tensor:
        """Each channel's value for all of its weights."""
        return values.expand(outputs, inputs)
