"""Noise in a model's outputs against those of the float model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gossamer.runtime import Feed


class Powers:
    """Signal and noise of every float output, summed over samples."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, expected: Feed, got: Feed) -> None:
        """Take in the outputs of one sample."""
        for name, array in expected.items():
            if array.dtype.kind != "f":
                continue
            wanted, given = (x.astype(np.float64) for x in (array, got[name]))
            signal, noise = self._sums.get(name, (0.0, 0.0))
            with np.errstate(over="ignore", invalid="ignore"):
                noise += float(np.square(wanted - given).sum())
            self._sums[name] = signal + float(np.square(wanted).sum()), noise

    def worst(self) -> float:
        """Noise over signal of the worst output; infinite where an output is not finite."""
        worst = 0.0
        for signal, noise in self._sums.values():
            share = noise / signal if signal else float(noise > 0)
            worst = max(worst, share if np.isfinite(share) else np.inf)
        return worst


def worst_noise(expected: Sequence[Feed], got: Sequence[Feed]) -> float:
    """Noise over signal of the worst float output, powers summed over all samples."""
    powers = Powers()
    for wanted, given in zip(expected, got, strict=True):
        powers.add(wanted, given)
    return powers.worst()
