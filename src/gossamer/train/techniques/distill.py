"""The technique `distill`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from gossamer.errors import RecipeError, TrainingError
from gossamer.train.attachment import Known, Technique, needed
from gossamer.train.cached_teacher import CachedTeacher
from gossamer.train.distilling import Distilling
from gossamer.train.loss import Loss
from gossamer.train.losses.logits import Logits
from gossamer.train.tokens import check_same_embeddings

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Distill(Technique):
    """A student learns from a teacher, which sees the same inputs in eval mode without gradients.

    Hinton et al. 2015, arXiv:1503.02531, with the losses of the family `losses`. What is minimised
    is hard-weight · (the task's loss) + Σ weight · (each loss). The teacher runs only in the
    student's training forward passes, and gets no `labels`.

    Attributes:
        losses: What the student learns, each with its weight.
        hard_weight: What the task's loss is multiplied with; at 0 it is not looked at.
        cache: Whether the teacher is asked once for each sample, and its logits (at most 1 GiB)
            are kept for later epochs; for losses of logits, and data that is not augmented.
    """

    losses: tuple[Loss, ...] = (Logits(),)
    hard_weight: float = 0.5
    cache: bool = False

    def __post_init__(self) -> None:
        if not self.losses:
            raise RecipeError("at least one loss", "none", "Leave the technique out instead.")
        if not (math.isfinite(self.hard_weight) and self.hard_weight >= 0):
            raise RecipeError(
                "a hard-weight of at least 0",
                repr(self.hard_weight),
                "0.5 is the default; 0 learns from the teacher alone.",
            )

    @property
    def needs(self) -> frozenset[str]:
        """A teacher, unless every loss does without, and a batch to compare widths on."""
        has_teacher = any(loss.needs_teacher for loss in self.losses)
        return frozenset({"batches", "teacher"} if has_teacher else {"batches"})

    def attach(
        self, model: nn.Module, optimizer: Optimizer | None = None, **known: Unpack[Known]
    ) -> Distilling:
        """Let `model` learn from the teacher; see `Distilling.loss`.

        Args:
            model: The student, before any wrapper for several processes.
            optimizer: What trains it. Adapters between hidden states of different widths become a
                parameter group of it, so attach before a learning rate schedule is made of it.
            known: `teacher`, unless every loss does without; `batches`, the first of which is
                run through both models, where hidden states of different widths are compared.

        Raises:
            TrainingError: There is no teacher, it shares parameters with the student or has
                another vocabulary; or layers that a loss names do not exist.
        """
        teacher: nn.Module | None = None
        if any(loss.needs_teacher for loss in self.losses):
            teacher = needed(self, known, "teacher")
        if teacher is not None:
            _check_pair(model, teacher)
            if self.cache and not isinstance(teacher, CachedTeacher):
                teacher = CachedTeacher(teacher)
        attached = Distilling(model, teacher, self.losses, self.hard_weight)
        try:
            if attached.compares_states and "batches" in known:
                attached.adapt(next(iter(known["batches"]()), None), optimizer)
        except BaseException:
            attached.detach()
            raise
        return attached


def _check_pair(student: nn.Module, teacher: nn.Module) -> None:
    asked = teacher.teacher if isinstance(teacher, CachedTeacher) else teacher
    theirs = {id(p) for p in asked.parameters()}
    shared = [n for n, p in student.named_parameters() if p.requires_grad and id(p) in theirs]
    if shared:
        raise TrainingError(
            "a teacher that does not change while the student trains",
            f"one that shares {len(shared)} parameters with it, {shared[0]} among them",
            "Make the one from a copy.deepcopy of the other.",
        )
    check_same_embeddings(student, asked)
