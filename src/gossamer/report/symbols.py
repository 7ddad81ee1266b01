"""Marks of a plot: one shape for each runtime, so that colour is never the only difference."""

from __future__ import annotations

from gossamer.report.markup import Markup, tag

SHAPES: tuple[tuple[tuple[float, float], ...], ...] = (
    (),  # a circle
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    ((0.0, -1.2), (1.15, 1.0), (-1.15, 1.0)),
    ((-1.15, -1.0), (1.15, -1.0), (0.0, 1.2)),
    ((0.0, -1.1), (1.1, -0.2), (0.7, 1.0), (-0.7, 1.0), (-1.1, -0.2)),
)
SERIES = len(SHAPES)  # the page's style sheet has a colour for each
SIZE = 6.5


def symbol(series: int, x: float, y: float, class_: str = "mark", size: float = SIZE) -> Markup:
    """The mark of series number `series`, centred on (x, y)."""
    name = f"{class_} s{series}"
    corners = SHAPES[series]
    if not corners:
        return tag("circle", cx=pixel(x), cy=pixel(y), r=pixel(size), class_=name)
    points = " ".join(f"{pixel(x + a * size)},{pixel(y + b * size)}" for a, b in corners)
    return tag("polygon", points=points, class_=name)


def pixel(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
