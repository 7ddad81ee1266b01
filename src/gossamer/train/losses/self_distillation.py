"""The loss `self-distillation`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gossamer.errors import RecipeError, TrainingError
from gossamer.train.layers import paths
from gossamer.train.loss import (
    IGNORED,
    Loss,
    Pairs,
    Seen,
    Side,
    Watch,
    check_classes,
    check_temperature,
    kl,
    mean,
    rows,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfDistillation(Loss):
    """A model's output teaches its own earlier exits: needs no teacher, but labels.

    Be Your Own Teacher, Zhang et al. 2019, arXiv:1905.08094. The sum over exits e of
    (1 − a) · cross-entropy + a · T² · KL(output ‖ e) + b · ‖F_e − F_deepest‖², the last averaged
    over samples, or tokens that are no padding. Nothing flows back into the output that teaches:
    it learns from the task's loss.

    Attributes:
        exits: Modules that give logits of the same classes, by path or pattern.
        features: Modules whose outputs imitate the deepest one's; a linear map that trains is put
            behind those of other widths. The last in the model's order is the deepest.
        temperature: T.
        imitation: a.
        closeness: b.
    """

    needs_teacher: ClassVar[bool] = False
    exits: tuple[str, ...] = ("exits.*", "*.exits.*")
    features: tuple[str, ...] = ()
    temperature: float = 3.0
    imitation: float = 0.3
    closeness: float = 0.03

    def __post_init__(self) -> None:
        Loss.__post_init__(self)
        check_temperature(self.temperature)
        if not 0 <= self.imitation <= 1 or not self.closeness >= 0 or not self.exits:
            raise RecipeError(
                "exits, an imitation between 0 and 1 and a closeness of at least 0",
                f"{list(self.exits)}, {self.imitation} and {self.closeness}",
                "exits.*, 0.3 and 0.03 are the defaults.",
            )

    def watch(self, student: nn.Module, teacher: nn.Module | None) -> Watch:  # noqa: ARG002
        """The exits, and the modules that give features."""
        features = paths(student, self.features) if self.features else ()
        return Watch(student={"exits": paths(student, self.exits), "features": features})

    def pairs(self, student: Side, teacher: Side | None) -> Pairs:  # noqa: ARG002
        """Each feature with the deepest one, through which nothing flows back."""
        found = student.tensors("features")
        return tuple((feature, found[-1].detach()) for feature in found[:-1])

    def term(self, seen: Seen) -> Tensor:
        """The sum over the exits; nats and squared units of the features."""
        whole, _ = check_classes(seen.student.logits, seen.student.logits)
        deepest = rows(whole.detach(), seen.mask) / self.temperature
        labels = seen.targets()
        terms = [
            self._exit(exit_logits, deepest, labels, seen.mask)
            for exit_logits in self._exits(seen.student)
        ]
        terms += [self.closeness * _squares(*pair, seen.mask) for pair in seen.pairs]
        return sum(terms[1:], terms[0])

    def _exits(self, student: Side) -> tuple[Tensor, ...]:
        found = student.tensors("exits")
        for path, logits in zip(student.layers["exits"], found, strict=True):
            if logits.shape != student.logits.shape:
                raise TrainingError(
                    f"logits {list(student.logits.shape)} from the exit {path}",
                    f"{list(logits.shape)}",
                    "An exit has the classes of the model's own output.",
                )
        return found

    def _exit(self, logits: Tensor, deepest: Tensor, labels: Tensor, mask: Tensor | None) -> Tensor:
        mine = rows(logits, mask)
        right = labels != IGNORED
        chosen = mine[right].log_softmax(-1).gather(1, labels[right, None])
        near = kl((mine / self.temperature).log_softmax(-1), deepest.log_softmax(-1))
        imitated = self.imitation * self.temperature**2 * mean(near)
        return (1 - self.imitation) * -mean(chosen) + imitated


def _squares(student: Tensor, deepest: Tensor, mask: Tensor | None) -> Tensor:
    """‖F_e − F_deepest‖² of a sample, or of a token, on average."""
    if student.shape != deepest.shape:
        raise TrainingError(
            "features that differ in their width only",
            f"{list(student.shape)} and {list(deepest.shape)} of the deepest",
            "Name modules whose outputs have the same length or size of image.",
        )
    gap = student - deepest
    has_tokens = mask is not None and mask.shape == gap.shape[:-1]
    return mean((rows(gap, mask) if has_tokens else gap.flatten(1)).square().sum(-1))
