"""AWQ: inputs with much power get finer steps, because their weights are stored larger.

Lin et al. 2024, arXiv:2306.00978. Input j of all weights that read one value is multiplied by

    s_j = power_j**b / sqrt(largest * smallest of these)

and what makes the value divided by it (`rescale`), which costs nothing when the model runs. The
power is the root of the Hessian's diagonal, in place of the paper's mean |x|; b is the one of a
grid for which rounding to nearest makes the least noise in the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.graph.groups import Groups

STRENGTHS = np.linspace(0, 1, 21)
ROWS = 512  # of each weight that tell about all of them
WORTH = 0.98  # of the noise without: smaller gains are none
MOST = 1e4  # between the largest and the smallest power


def scales(
    weights: Sequence[NDArray[np.float32]], groups: Groups, hessian: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """s, `[inputs]`; None where it would gain nothing.

    Args:
        weights: All that read the value, `[outputs, inputs]`.
        groups: How they are stored.
        hessian: Mean of x xᵀ over the value.
    """
    power = np.sqrt(np.maximum(hessian.diagonal().astype(np.float64), 0))
    if not power.any():
        return None
    power = np.maximum(power, power.max() / MOST)
    some = [w[:: max(1, len(w) // ROWS)].astype(np.float32) for w in weights]
    best, least, plain = None, np.inf, np.inf
    for strength in STRENGTHS:
        tried = power**strength
        tried = (tried / np.sqrt(tried.max() * tried.min())).astype(np.float32)
        noise = sum(_noise(rows, tried, groups, hessian) for rows in some)
        if strength == 0:
            plain = noise
        if noise < least:
            best, least = tried, noise
    return best if least < WORTH * plain else None


def _noise(
    weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    groups: Groups,
    hessian: NDArray[np.float32],
) -> float:
    larger = weight * scale
    grid = groups.fitted(larger)
    error = (larger - grid.dequantize(grid.quantize(larger))) / scale
    return float(((error @ hessian) * error).sum(dtype=np.float64))
