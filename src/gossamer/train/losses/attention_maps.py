"""The loss `attention-maps`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gossamer.train.layers import ATTENTIONS, paths, uniform
from gossamer.train.loss import Loss, Seen, Watch, map_distance, taught

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionMaps(Loss):
    """Where the student's heads look comes near where the teacher's look.

    As in MobileBERT (Sun et al. 2020, arXiv:2004.02984), which takes the KL of each row of a map,
    and TinyBERT (Jiao et al. 2020, arXiv:1909.10351), which takes the MSE. Needs modules that
    return maps beside their output, as those of transformers do with
    `attn_implementation="eager"`, and as many heads in both models; see `relations` for others.

    Attributes:
        student: Attention modules by path or pattern.
        teacher: The same of the teacher.
        distance: KL(teacher ‖ student) of each head and query, or the mean of squares.
    """

    student: tuple[str, ...] = ATTENTIONS
    teacher: tuple[str, ...] = ATTENTIONS
    distance: Literal["kl", "mse"] = "kl"

    def watch(self, student: nn.Module, teacher: nn.Module | None) -> Watch:
        """The attention modules, as many of both."""
        mine = paths(student, self.student)
        theirs = uniform(mine, paths(taught(teacher), self.teacher))
        return Watch(student={"maps": mine}, teacher={"maps": theirs})

    def term(self, seen: Seen) -> Tensor:
        """The mean over layers, heads and real queries."""
        both = zip(seen.student.maps("maps"), taught(seen.teacher).maps("maps"), strict=True)
        each = [map_distance(mine, theirs, seen.mask, self.distance) for mine, theirs in both]
        return sum(each[1:], each[0]) / len(each)
