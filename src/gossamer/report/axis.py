"""An axis of a plot: from values to pixels, with round ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

LOG_RATIO = 12.0  # largest / smallest value above which an axis is logarithmic


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One direction of a plot.

    Attributes:
        low: Value at `start`.
        high: Value at `end`.
        start: Pixel of `low`.
        end: Pixel of `high`; may be smaller than `start` (SVG's y grows downwards).
        is_log: Whether equal distances are equal ratios.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def pixel(self, value: float) -> float:
        """Where a value lies; values outside are put on the nearer end."""
        low, high, x = self.low, self.high, value
        if self.is_log:
            low, high, x = math.log(low), math.log(high), math.log(max(value, 1e-300))
        share = (x - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        low, high = sorted((self.low, self.high))
        return low <= value <= high

    def ticks(self, count: int = 6) -> list[tuple[float, str]]:
        """About `count` round values on the axis, each with its text."""
        low, high = sorted((self.low, self.high))
        values = _log_ticks(low, high, count) if self.is_log else _even_ticks(low, high, count)
        step = min((b - a for a, b in pairwise(values)), default=high - low)
        if self.is_log:
            return [(v, f"{v:g}") for v in values]
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        # a step of 2.5 or 0.025 needs one digit more than its power of ten says
        if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
            decimals += 1
        return [(v, f"{v:.{decimals}f}") for v in values]


def _even_ticks(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        values = [m * 10.0**p for p in range(first, last + 1) for m in digits]
        values = [v for v in values if low <= v <= high]
        if len(values) <= count + 1:
            break
    return values
