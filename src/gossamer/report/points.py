"""Candidates on a plot: marks, the names beside them, and the line of those that none beats."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from gossamer.report import front, words
from gossamer.report.labels import GAP, Box, around, free_spot
from gossamer.report.markup import Markup, join, printable, tag
from gossamer.report.symbols import SERIES, pixel, symbol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gossamer.result import Candidate, Result

STAR = "\u2605 "
LONG = 28  # characters of a name
CROWD = 24  # marks above which those that are beaten have no name beside them


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One measured candidate on the plot."""

    candidate: Candidate
    rank: int
    series: int
    x: float
    y: float
    is_below: bool
    is_winner: bool
    is_baseline: bool
    is_on_front: bool

    @property
    def is_beaten(self) -> bool:
        """Whether another one is better both ways; what all look for is never faint."""
        return not (self.is_on_front or self.is_winner or self.is_baseline)

    @property
    def is_cut(self) -> bool:
        """Whether its name is too long to be written in full."""
        return len(printable(self.candidate.label, "")) > LONG

    @property
    def label(self) -> str:
        """The name beside the mark."""
        text = printable(self.candidate.label, "")
        text = f"{text[: LONG - 1]}\u2026" if self.is_cut else text
        if self.is_winner:
            return f"{STAR}{text}"
        return f"{text} (baseline)" if self.is_baseline else text


def measured(result: Result) -> list[Candidate]:
    """The candidates that have both a latency and a score, the fastest first."""
    return [
        c
        for c in words.by_latency(result.candidates)
        if c.status == "ok" and (words.median(c) or 0) > 0 and words.is_number(c.score)
    ]


def series(result: Result) -> dict[str, int]:
    """The colour number of each runtime, in alphabetical order."""
    names = sorted({c.runtime for c in result.candidates})
    return {name: index % SERIES for index, name in enumerate(names)}


def ranks(result: Result) -> dict[front.Identity, int]:
    """The row of each candidate in the table."""
    ordered = enumerate(words.by_latency(result.candidates), start=1)
    return {front.identity(c): rank for rank, c in ordered}


def marks(points: Sequence[Point]) -> Markup:
    """Every point, what matters most on top."""
    return join(_mark(p) for p in sorted(points, key=_layer))


def steps(points: Sequence[Point]) -> Markup | None:
    """A line of steps: what lies to its right and below is beaten."""
    corners = _corners(points)
    if len(corners) < 2:
        return None
    line = "".join(f"H{pixel(x)}V{pixel(y)}" for x, y in corners[1:])
    x, y = corners[0]
    return tag("path", d=f"M{pixel(x)} {pixel(y)}{line}", class_="front")


def _corners(points: Sequence[Point]) -> list[tuple[float, float]]:
    return [(p.x, p.y) for p in points if p.is_on_front and not p.is_below]


def _stretches(points: Sequence[Point]) -> Iterator[Box]:
    """What the line of steps covers, but for the marks that it joins."""
    for (x, y), (to_x, to_y) in pairwise(_corners(points)):
        yield Box(left=x + GAP, top=y - 2, right=to_x + 2, bottom=y + 2)
        yield Box(left=to_x - 2, top=min(y, to_y) + GAP, right=to_x + 2, bottom=max(y, to_y) + 2)


def names(
    points: Sequence[Point], area: Box, taken: Box | None, *, is_joined: bool = True
) -> Markup:
    """Names beside the marks where there is room, the rank from the table where there is not."""
    boxes = [around(p.x, p.y) for p in points] + ([taken] if taken else [])
    boxes += _stretches(points) if is_joined else []
    order = sorted(
        (p for p in points if len(points) <= CROWD or not p.is_beaten),
        key=lambda p: (not p.is_winner, not p.is_baseline, p.is_beaten, p.is_below, p.rank),
    )
    written = []
    known = Counter(p.label.removeprefix(STAR) for p in points)
    for point in order:
        texts = [point.label, f"{STAR if point.is_winner else ''}{point.rank}"]
        if point.is_cut and known[point.label.removeprefix(STAR)] > 1:
            del texts[0]  # what tells it from others was cut off
        elif point.is_below:
            texts.insert(0, f"{point.label}: {words.number(point.candidate.score)}")
        for text in texts:
            spot = free_spot(text, (point.x, point.y), boxes, area)
            if spot is not None:
                boxes.append(spot)
                kind = " strong" if point.is_winner else " beaten" if point.is_beaten else ""
                side = " end" if spot.right <= point.x else ""
                written.append(text_at(text, spot, f"label{kind}{side}", point.rank))
                break
    return join(written)


def text_at(text: str, spot: Box, class_: str, rank: int | None = None) -> Markup:
    """A text where it was found to fit; one of class `end` ends there."""
    x, y = spot.right - 2 if class_.endswith(" end") else spot.left + 2, spot.bottom - 4
    return tag("text", text, x=pixel(x), y=pixel(y), class_=class_, data_mark=rank)


def _layer(point: Point) -> tuple[bool, bool, bool]:
    return not point.is_beaten, point.is_winner, point.is_baseline


def _mark(point: Point) -> Markup:
    c = point.candidate
    text = (
        f"{point.rank}. {c.label} on {c.runtime}: {words.number(c.score)}, "
        f"{words.milliseconds(words.median(c))} ms, {words.times(c.speedup)}, "
        f"{words.size(c.size_bytes)}"
    )
    kind = "mark hollow" if c.is_float else "mark"
    parts = [tag("title", text)]
    if point.is_winner:
        parts.append(tag("circle", cx=pixel(point.x), cy=pixel(point.y), r="12", class_="ring"))
    parts.append(symbol(point.series, point.x, point.y, kind))
    if point.is_below:
        x, y = pixel(point.x), pixel(point.y + 10)
        parts.append(tag("path", d=f"M{x} {y}v8m-4 -4l4 4l4 -4", class_="arrow"))
    return tag(
        "g",
        *parts,
        role="img",
        class_="beaten" if point.is_beaten else None,
        data_mark=point.rank,
    )
