"""What a criterion is: how much each weight is worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor

INFINITE = float("inf")
PART = 128  # inputs that criteria go by, from the left to the right


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Chooses what becomes zero in a part of a matrix, so that the whole gets its share.

    Attributes:
        together: Inputs that have to be chosen at once; 0 for all.
        hidden: Where a part of whole blocks, `[outputs, part]`, becomes zero, given its scores and
            its first input. Parts come from the left to the right.
    """

    together: int
    hidden: Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Criterion(ABC):
    """One way to say what a weight is worth; the least is pruned first.

    What it gathers is added up in a float32 tensor for each weight.

    Attributes:
        needs: What it looks at besides the weights: their gradients at every step, or what the
            layers are given, over some batches.
        compares: Weights of all layers, of one layer, or of one output of a layer.
        is_forgetful: Whether what was gathered before an update of the masks is not used after it.
    """

    needs: ClassVar[Literal["weights", "gradients", "inputs"]] = "weights"
    compares: ClassVar[Literal["layers", "layer", "outputs"]] = "layers"
    is_forgetful: ClassVar[bool] = False

    def begin(self, weight: Tensor) -> Tensor:
        """What was gathered before anything was."""
        return weight.new_zeros(weight.shape).float()

    def gather(  # noqa: B027 - what needs nothing but weights gathers nothing
        self, seen: Tensor, weight: Tensor, given: Tensor
    ) -> None:
        """Add to `seen`, in place.

        Args:
            seen: As `begin` made it.
            weight: `[outputs, inputs]`.
            given: The gradient, of the weight's shape, or what was multiplied with the weight,
                `[rows, inputs]`.
        """

    @abstractmethod
    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """What each weight is worth, `[outputs, inputs]`, in float32."""

    def prune(
        self, weight: Tensor, seen: Tensor, kept: Tensor, choice: Choice
    ) -> tuple[Tensor, Tensor]:
        """The weight afterwards, and which of it become zero.

        Args:
            weight: `[outputs, inputs]`, in float32; not changed.
            seen: What was gathered.
            kept: Which are not zero for good already.
            choice: Chooses, given scores; those of weights that are not kept are -inf.
        """
        return weight, choice.hidden(self.scores(weight, seen).masked_fill(~kept, -INFINITE), 0)
