"""The loss `dkd`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.train.loss import IGNORED, Loss, Seen, check_classes, check_temperature, kl, mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Dkd(Loss):
    """Decoupled distillation: how sure of the label, and how the other classes compare.

    Zhao et al. 2022, arXiv:2203.08679: T² · (a · TCKD + b · NCKD). TCKD is the KL of (p of the
    label, 1 − p of the label), NCKD the KL of the probabilities among all other classes; KL itself
    is TCKD + (1 − p_t of the label) · NCKD, which hardly teaches NCKD where the teacher is sure.
    Needs labels; with two classes NCKD is 0. Rows with the label −100 do not count.

    Attributes:
        temperature: T, that both logits are divided by.
        target: a, weight of TCKD.
        others: b, weight of NCKD; the paper takes 0.5 to 10, more for surer teachers.
    """

    temperature: float = 4.0
    target: float = 1.0
    others: float = 8.0

    def __post_init__(self) -> None:
        Loss.__post_init__(self)
        check_temperature(self.temperature)

    def term(self, seen: Seen) -> Tensor:
        """T² · (a · TCKD + b · NCKD) in nats, averaged over the rows that have a label."""
        student, teacher = check_classes(*seen.logits())
        labels = seen.targets()
        is_labelled = labels != IGNORED
        parts = [
            _decoupled(x[is_labelled] / self.temperature, labels[is_labelled])
            for x in (student, teacher)
        ]
        target, others = (kl(mine, wanted) for mine, wanted in zip(*parts, strict=True))
        return mean(self.target * target + self.others * others) * self.temperature**2


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (label, not label) `[rows, 2]`, and among the others `[rows, n − 1]`."""
    import torch

    is_label = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], value=True)
    others = logits[~is_label].reshape(len(logits), -1)
    whole = logits.logsumexp(-1)
    binary = torch.stack([logits[is_label] - whole, others.logsumexp(-1) - whole], -1)
    return binary, others.log_softmax(-1)
