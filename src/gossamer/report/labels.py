"""Where the name of a mark fits without covering anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CHARACTER = 6.9  # generous width of one character of a 12 px label
TALL = 16.0
GAP = 13.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle that something already covers."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share a point."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def contains(self, other: Box) -> bool:
        """Whether the other lies wholly inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


def width(text: str) -> float:
    """Pixels that a label takes, judged from above."""
    return CHARACTER * len(text) + 4


def around(x: float, y: float) -> Box:
    """What a mark centred on (x, y) covers."""
    return Box(left=x - 8, top=y - 8, right=x + 8, bottom=y + 8)


def free_spot(text: str, mark: tuple[float, float], taken: Sequence[Box], area: Box) -> Box | None:
    """The first place around a mark where its text covers nothing; None if there is none."""
    x, y = mark
    wide, own = width(text), around(x, y)
    spots = (
        (x + GAP, y - TALL / 2),
        (x - GAP - wide, y - TALL / 2),
        (x - wide / 2, y - GAP - TALL),
        (x - wide / 2, y + GAP),
        (x + GAP / 2, y - GAP - TALL),
        (x + GAP / 2, y + GAP),
        (x - GAP / 2 - wide, y - GAP - TALL),
        (x - GAP / 2 - wide, y + GAP),
    )
    for left, top in spots:
        box = Box(left=left, top=top, right=left + wide, bottom=top + TALL)
        if area.contains(box) and not any(box.overlaps(other) for other in taken if other != own):
            return box
    return None
