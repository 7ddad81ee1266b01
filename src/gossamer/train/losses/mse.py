"""The loss `mse`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.train.loss import Loss, Seen, mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Mse(Loss):
    """The student's logits come near the teacher's themselves: mean of squared differences.

    Ba and Caruana 2014, arXiv:1312.6184. Also for regression. There is no temperature, as dividing
    by T and multiplying with T² would leave the same.
    """

    def term(self, seen: Seen) -> Tensor:
        """The mean over samples, or tokens that are no padding, and over classes."""
        student, teacher = seen.logits()
        return mean((student - teacher) ** 2)
