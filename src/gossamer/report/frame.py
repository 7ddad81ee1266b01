"""What a plot is drawn on: its grid, the titles of its axes, the key of its marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.report.labels import width as text_width
from gossamer.report.markup import Markup, join, tag
from gossamer.report.symbols import pixel, symbol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gossamer.report.axis import Axis
    from gossamer.report.labels import Box

LEFT = 72.0  # room for the ticks and the title of the upright axis
TOP, ROW = 14.0, 22.0  # middle of the first row of a key, and from there to the next


def grid(x: Axis, y: Axis, area: Box, along: Sequence[tuple[float, str]] | None = None) -> Markup:
    """Lines at the ticks of both axes, each with its value; `along` are other ticks of `x`."""
    parts: list[Markup] = []
    for value, text in y.ticks(7 if area.bottom - area.top > 250 else 5):
        at = y.pixel(value)
        parts.append(across(at, area, "grid"))
        parts.append(tag("text", text, x=pixel(area.left - 8), y=pixel(at + 4), class_="tick end"))
    for value, text in x.ticks(6 if area.right > 500 else 4) if along is None else along:
        at, below = x.pixel(value), area.bottom + 18
        parts.append(upright(at, area, "grid"))
        parts.append(tag("text", text, x=pixel(at), y=pixel(below), class_="tick middle"))
    parts += [across(area.bottom, area, "frame"), upright(area.left, area, "frame")]
    return join(parts)


def across(y: float, area: Box, class_: str) -> Markup:
    """A line from the left to the right."""
    return tag("path", d=f"M{pixel(area.left)} {pixel(y)}H{pixel(area.right)}", class_=class_)


def upright(x: float, area: Box, class_: str) -> Markup:
    """A line from the top to the bottom."""
    return tag("path", d=f"M{pixel(x)} {pixel(area.top)}V{pixel(area.bottom)}", class_=class_)


def titles(below: str, beside: str, area: Box) -> Markup:
    """What the two axes are."""
    middle = (area.top + area.bottom) / 2
    return join(
        (
            tag(
                "text",
                below,
                x=pixel((area.left + area.right) / 2),
                y=pixel(area.bottom + 40),
                class_="title middle",
            ),
            tag(
                "text",
                beside,
                x="0",
                y="0",
                transform=f"translate(14 {pixel(middle)}) rotate(-90)",
                class_="title middle",
            ),
        )
    )


def key(series: Mapping[str, int], width: int) -> Markup:
    """Which mark stands for what, in as many rows as it takes."""
    parts = []
    for (name, index), (left, row) in zip(series.items(), _spots(series, width), strict=True):
        y = TOP + ROW * row
        parts.append(symbol(index, left + 6, y))
        parts.append(tag("text", name, x=pixel(left + 20), y=pixel(y + 4), class_="label"))
    return join(parts)


def key_height(series: Mapping[str, int], width: int) -> float:
    """The room that a key takes."""
    return TOP + ROW * (max(row for _, row in _spots(series, width)) + 1)


def _spots(series: Mapping[str, int], width: int) -> list[tuple[float, int]]:
    spots, left, row = [], LEFT, 0
    for name in series:
        wide = text_width(name) + 36
        if left > LEFT and left + wide > width:
            left, row = LEFT, row + 1
        spots.append((left, row))
        left += wide
    return spots
