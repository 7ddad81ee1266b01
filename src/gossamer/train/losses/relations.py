"""The loss `relations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import RecipeError, TrainingError
from gossamer.train.layers import KEYS, QUERIES, VALUES, paths
from gossamer.train.loss import Loss, Seen, Side, Watch, head_rows, kl, mean, taught, wide

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Relations(Loss):
    """How tokens relate in one layer of the student comes near how they do in one of the teacher's.

    MiniLM, Wang et al. 2020, arXiv:2002.10957: KL(teacher ‖ student) of softmax(QKᵀ/√d) and of
    softmax(VVᵀ/√d), averaged over heads and real tokens, each weighing the same. Widths may differ,
    as these are tokens × tokens; so may the number of heads, since queries, keys and values are
    split anew into as many parts in both (MiniLMv2, Wang et al. 2021, arXiv:2012.15828). For
    encoders: no causal mask.

    Attributes:
        heads: Parts that queries, keys and values are split into; 0 for the teacher's heads.
        student_layer: Which of the student's layers; -1 is the last.
        teacher_layer: Which of the teacher's; MiniLMv2 takes one before the last of large ones.
        queries: Linear modules by path or pattern, in both.
        keys: The same for keys, of the width of the queries.
        values: The same for values.
    """

    heads: int = 0
    student_layer: int = -1
    teacher_layer: int = -1
    queries: tuple[str, ...] = QUERIES
    keys: tuple[str, ...] = KEYS
    values: tuple[str, ...] = VALUES

    def __post_init__(self) -> None:
        Loss.__post_init__(self)
        if self.heads < 0:
            raise RecipeError(
                "a number of heads, or 0 for the teacher's",
                repr(self.heads),
                "Leave heads out for the teacher's.",
            )

    def watch(self, student: nn.Module, teacher: nn.Module | None) -> Watch:
        """Queries, keys and values of the one layer in both."""
        return Watch(
            student=self._of(student, self.student_layer),
            teacher=self._of(taught(teacher), self.teacher_layer),
        )

    def _of(self, model: nn.Module, layer: int) -> dict[str, tuple[str]]:
        found = {}
        wanted = {"queries": self.queries, "keys": self.keys, "values": self.values}
        for name, patterns in wanted.items():
            known = paths(model, patterns)
            if not -len(known) <= layer < len(known):
                raise TrainingError(
                    f"a layer {layer} in {type(model).__name__}",
                    f"{len(known)} layers with {name}",
                    "They count from 0, or from -1 backwards.",
                )
            found[name] = (known[layer],)
        return found

    def term(self, seen: Seen) -> Tensor:
        """Mean of the two KLs in nats; 0 where student and teacher relate tokens alike."""
        teacher = taught(seen.teacher)
        heads = self.heads or teacher.heads
        if heads is None:
            raise TrainingError(
                "heads of `relations`",
                "0, and a teacher whose config does not say how many it has",
                "Set heads to a number that divides the widths of both models.",
            )
        each = []
        for name, other in (("queries", "keys"), ("values", "values")):
            mine, wanted = (
                _relation(side, (name, other), heads, seen.mask) for side in (seen.student, teacher)
            )
            each.append(mean(head_rows(kl(mine, wanted), seen.mask)))
        return (each[0] + each[1]) / 2


def _relation(side: Side, names: tuple[str, str], heads: int, mask: Tensor | None) -> Tensor:
    """Log-softmax of the scaled products of all tokens, `[batch, heads, tokens, tokens]`."""
    left, right = (_split(side.tensors(name)[0], heads) for name in names)
    if left.shape != right.shape:
        raise TrainingError(
            f"{names[0]} and {names[1]} of one width",
            f"{list(left.shape)} and {list(right.shape)} of [batch, heads, tokens, width]",
            "Models whose heads share their keys have no such relation.",
        )
    products = wide(left @ right.transpose(-1, -2))  # autocast multiplies in halves
    scores = products / left.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
    found: Tensor = scores.log_softmax(-1)
    return found


def _split(values: Tensor, heads: int) -> Tensor:
    """`[batch, heads, tokens, width / heads]`."""
    if values.dim() != 3 or values.shape[-1] % heads:
        raise TrainingError(
            f"queries, keys and values [batch, tokens, width] that {heads} heads divide",
            f"{list(values.shape)}",
            "Set heads of `relations` to a number that divides the widths of both models.",
        )
    batch, tokens, width = values.shape
    return wide(values).reshape(batch, tokens, heads, width // heads).transpose(1, 2)
