"""The loss `logits`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.train.loss import Loss, Seen, check_classes, check_temperature, kl, mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Logits(Loss):
    """The student's class probabilities come near the teacher's: T² · KL(teacher ‖ student).

    Hinton et al. 2015, arXiv:1503.02531. Summed over classes, averaged over samples or, where
    there are logits for each token, over the tokens that are no padding. T² keeps the size of the
    gradients whatever T is.

    Attributes:
        temperature: T, that both logits are divided by: the larger, the softer.
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        Loss.__post_init__(self)
        check_temperature(self.temperature)

    def term(self, seen: Seen) -> Tensor:
        """T² · KL in nats; 0 where both give the same probabilities."""
        student, teacher = (x / self.temperature for x in check_classes(*seen.logits()))
        each = kl(student.log_softmax(-1), teacher.log_softmax(-1))
        return mean(each) * self.temperature**2
