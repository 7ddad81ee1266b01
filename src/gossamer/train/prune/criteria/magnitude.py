"""The criterion `magnitude`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.train.prune.criterion import Criterion

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Magnitude(Criterion):
    """|W|: a small weight changes little. Needs no data, and is hard to beat in long trainings."""

    def scores(self, weight: Tensor, seen: Tensor) -> Tensor:
        """|W|."""
        return weight.float().abs()
