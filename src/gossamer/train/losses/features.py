"""The loss `features`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gossamer.train.layers import chosen, uniform
from gossamer.train.loss import Loss, Pairs, Seen, Side, Watch, distance, taught

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Features(Loss):
    """Hidden states come near the teacher's, through a linear map that trains where widths differ.

    FitNets, Romero et al. 2015, arXiv:1412.6550, with many hints at once. Each layer of the student
    is compared with the teacher's that is as deep among those named; padding does not count.

    Attributes:
        student: Layers by path or pattern; all repeated layers by default.
        teacher: The same of the teacher.
        distance: Mean of squares over everything, or 1 − cosine of each sample's or token's vector.
    """

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    distance: Literal["mse", "cosine"] = "mse"

    def watch(self, student: nn.Module, teacher: nn.Module | None) -> Watch:
        """The layers, as many of both."""
        mine = chosen(student, self.student)
        theirs = uniform(mine, chosen(taught(teacher), self.teacher))
        return Watch(student={"hidden": mine}, teacher={"hidden": theirs})

    def pairs(self, student: Side, teacher: Side | None) -> Pairs:
        """Each layer with its teacher."""
        wanted = taught(teacher).tensors("hidden")
        return tuple(zip(student.tensors("hidden"), wanted, strict=True))

    def term(self, seen: Seen) -> Tensor:
        """The mean over the layers."""
        each = [distance(mine, theirs, seen.mask, self.distance) for mine, theirs in seen.pairs]
        return sum(each[1:], each[0]) / len(each)
