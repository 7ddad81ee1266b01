"""The loss `soft-cross-entropy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.train.loss import Loss, Seen, check_classes, check_temperature, mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftCrossEntropy(Loss):
    """Cross-entropy with the teacher's probabilities as labels: −T² · Σ p_t log p_s.

    Hinton et al. 2015, arXiv:1503.02531. It has the gradients of `logits` and is larger by the
    teacher's entropy, so it does not fall to 0. Averaged over samples, or tokens that are no
    padding.

    Attributes:
        temperature: T, that both logits are divided by: the larger, the softer.
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        Loss.__post_init__(self)
        check_temperature(self.temperature)

    def term(self, seen: Seen) -> Tensor:
        """T² · cross-entropy in nats; least where both give the same probabilities."""
        student, teacher = (x / self.temperature for x in check_classes(*seen.logits()))
        each = -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1)
        return mean(each) * self.temperature**2
