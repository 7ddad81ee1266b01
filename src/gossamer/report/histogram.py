"""How often a tensor takes which values, in float and as it is stored, as inline SVG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gossamer.report.axis import Axis
from gossamer.report.markup import Markup, join, tag
from gossamer.report.symbols import pixel

if TYPE_CHECKING:
    from gossamer.diagnosis import Tensor

WIDTH, HEIGHT = 360, 170
RAREST = 1e-6  # share of the elements at the foot of the plot; it is logarithmic


def histogram(tensor: Tensor) -> Markup:
    """Both forms over the float range, and the ends of what can be stored where they lie in it."""
    found = tensor.histogram
    x = Axis(low=found.low, high=found.high, start=8.0, end=WIDTH - 8.0)
    foot, top = HEIGHT - 24.0, 8.0
    limits = [v for v in (tensor.range_low, tensor.range_high) if found.low < v < found.high]
    return tag(
        "svg",
        tag("title", f"Values of {tensor.name}, in float and stored"),
        tag("path", d=_outline(found.real, x, foot, top, closed=True), class_="real"),
        tag("path", d=_outline(found.stored, x, foot, top, closed=False), class_="held"),
        join(_vertical(x.pixel(v), foot, top) for v in limits),
        tag("line", x1="8", x2=pixel(WIDTH - 8.0), y1=pixel(foot), y2=pixel(foot), class_="frame"),
        join(_tick(x, value, text, foot) for value, text in x.ticks(4)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="plot",
    )


def _outline(shares: tuple[float, ...], x: Axis, foot: float, top: float, *, closed: bool) -> str:
    """A staircase over the bins."""
    width = (x.end - x.start) / len(shares)
    parts = [f"M{pixel(x.start)} {pixel(foot)}"]
    for index, share in enumerate(shares):
        rise = 1 - math.log(share) / math.log(RAREST) if share > RAREST else 0.0
        y = pixel(foot - rise * (foot - top))
        left = x.start + index * width
        parts.append(f"L{pixel(left)} {y}L{pixel(left + width)} {y}")
    parts.append(f"L{pixel(x.end)} {pixel(foot)}{'Z' if closed else ''}")
    return "".join(parts)


def _vertical(x: float, foot: float, top: float) -> Markup:
    return tag("line", x1=pixel(x), x2=pixel(x), y1=pixel(top), y2=pixel(foot), class_="limit")


def _tick(x: Axis, value: float, text: str, foot: float) -> Markup:
    at = min(max(x.pixel(value), 16.0), WIDTH - 20.0)
    return tag("text", text, x=pixel(at), y=pixel(foot + 16), class_="middle")
