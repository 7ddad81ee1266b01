"""Statistics of given samples, computed directly: the oracle for range rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gossamer.statistics import TensorStatistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 4096


def observed(samples: Sequence[NDArray[np.float32]]) -> TensorStatistics:
    """What calibration finds in these samples, every element counted."""
    held = [s.astype(np.float32).ravel() for s in samples if s.size]
    x = np.concatenate(held) if held else np.zeros(0, np.float32)
    low, high = (float(x.min()), float(x.max())) if held else (0.0, 0.0)
    width = max((max(high, 0.0) - min(low, 0.0)) / (BINS - 2), 2.0**-120)
    below = int(np.ceil(max(-low, 0.0) / width))
    bins = np.clip(np.floor(x.astype(np.float64) / width) + below, 0, BINS - 1)
    return TensorStatistics(
        low=low,
        high=high,
        sample_low=np.array([s.min() for s in held], np.float32),
        sample_high=np.array([s.max() for s in held], np.float32),
        counts=np.bincount(bins.astype(np.int64), minlength=BINS),
        edge_low=-below * width,
        edge_high=(BINS - below) * width,
    )
