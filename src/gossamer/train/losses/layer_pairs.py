"""The loss `layer-pairs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.train.layers import ATTENTIONS, EMBEDDINGS, chosen, paths, uniform
from gossamer.train.loss import (
    Loss,
    Pairs,
    Seen,
    Side,
    Watch,
    distance,
    map_distance,
    taught,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPairs(Loss):
    """Embeddings, hidden states and attention maps of a student imitate a teacher's (TinyBERT).

    Jiao et al. 2020, arXiv:1909.10351: mean squared errors, layer m of the student's M against
    layer m · N / M of the teacher's N, with a linear map that trains behind each hidden state of
    another width. The paper shares one such map among layers and compares attention before the
    softmax; here each pair has its own, and maps are compared after it, as models give them.

    Attributes:
        student: Layers by path or pattern; all repeated layers by default.
        teacher: The same of the teacher.
        embeddings: The module that gives the embeddings, in both; `[]` leaves them out.
        attentions: Attention modules, in both, which have to return their maps; `[]` leaves them
            out.
    """

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = EMBEDDINGS
    attentions: tuple[str, ...] = ATTENTIONS

    def watch(self, student: nn.Module, teacher: nn.Module | None) -> Watch:
        """Embeddings and layers, as many of both, and their attention modules."""
        mine = chosen(student, self.student)
        theirs = uniform(mine, chosen(taught(teacher), self.teacher))
        maps: tuple[tuple[str, ...], ...] = ((), ())
        if self.attentions:
            own = paths(student, self.attentions)
            maps = own, uniform(own, paths(taught(teacher), self.attentions))
        if self.embeddings:
            mine = (*paths(student, self.embeddings)[:1], *mine)
            theirs = (*paths(taught(teacher), self.embeddings)[:1], *theirs)
        return Watch(
            student={"hidden": mine, "maps": maps[0]}, teacher={"hidden": theirs, "maps": maps[1]}
        )

    def pairs(self, student: Side, teacher: Side | None) -> Pairs:
        """Embeddings and each layer with its teacher."""
        wanted = taught(teacher).tensors("hidden")
        return tuple(zip(student.tensors("hidden"), wanted, strict=True))

    def term(self, seen: Seen) -> Tensor:
        """The sum over embeddings and layers, as in the paper."""
        hidden = [distance(mine, theirs, seen.mask, "mse") for mine, theirs in seen.pairs]
        both = zip(seen.student.maps("maps"), taught(seen.teacher).maps("maps"), strict=True)
        maps = [map_distance(mine, theirs, seen.mask, "mse") for mine, theirs in both]
        return sum([*hidden[1:], *maps], hidden[0])
