"""The accuracy-latency plot as inline SVG: every measured candidate, the budget, the winner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.report import words
from gossamer.report.axis import Axis
from gossamer.report.labels import Box, around, free_spot
from gossamer.report.labels import width as text_width
from gossamer.report.markup import Markup, join, printable, tag
from gossamer.report.symbols import SERIES, pixel, symbol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossamer.result import Candidate, Result

REACH = 6.0  # scores worse than this many budgets are drawn on the plot's edge
LOG_RATIO = 12.0  # slowest / fastest above which latency is drawn in logarithms
EDGE = 22.0  # room for marks that lie on the end of an axis


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

    @property
    def label(self) -> str:
        """The name beside the mark."""
        text = printable(self.candidate.label, "")
        text = text if len(text) <= 28 else f"{text[:27]}\u2026"
        if self.is_winner:
            return f"\u2605 {text}"
        return f"{text} (baseline)" if self.is_baseline else text


def accuracy_latency(result: Result, width: int, height: int) -> Markup | None:
    """The plot, `width` x `height` pixels large before scaling; None if nothing was measured.

    Better is always up: for a score where lower is better the axis is turned around.
    """
    shown = measured(result)
    if not shown:
        return None
    top = 14 + 22 * _legend_rows(result, width)
    x = _latency_axis(shown, 64, width - 18)
    y = _score_axis(result, shown, height - 52, top)
    points = _points(result, shown, x, y)
    area = Box(left=x.start, top=y.end, right=x.end, bottom=y.start)
    limit = words.limit_score(result)
    text = "" if limit is None else _budget_text(result, limit)
    spot = None if limit is None else _budget_spot(text, y.pixel(limit), points, area)
    return tag(
        "svg",
        tag("title", f"Latency and {words.metric(result)} of every measured candidate"),
        tag("desc", "The same numbers stand in the table of candidates."),
        _legend(result, width),
        _grid(x, y, area),
        _beyond(limit, y, area),
        _baseline_line(points, area),
        join(_mark(p) for p in sorted(points, key=lambda p: (p.is_winner, p.is_baseline))),
        _labels(points, area, spot),
        _text(text, spot, "label budget-text") if spot else None,
        _axis_titles(result, x, area),
        viewBox=f"0 0 {width} {height}",
        role="img",
        class_="plot",
        style=f"max-width:{width}px",
    )


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


def _latency_axis(shown: Sequence[Candidate], start: float, end: float) -> Axis:
    values = [words.median(c) or 0.0 for c in shown]
    low, high = min(values), max(values)
    if high / low > LOG_RATIO:
        return Axis(low=low / 1.5, high=high * 1.4, start=start, end=end, is_log=True)
    return Axis(low=0.0, high=high * 1.12, start=start, end=end)


def _score_axis(result: Result, shown: Sequence[Candidate], start: float, end: float) -> Axis:
    sign = 1.0 if result.task.get("higher_is_better", True) else -1.0
    scores = [sign * c.score for c in shown if c.score is not None]
    reference = (
        sign * result.baseline.score
        if result.baseline and words.is_number(result.baseline.score)
        else max(scores)
    )
    limit = words.limit_score(result)
    allowed = abs(reference - sign * limit) if limit is not None else 0.0
    near = [s for s in scores if allowed <= 0 or s >= reference - REACH * allowed]
    best = max(*scores, reference)
    worst = min(*near, reference - 1.2 * allowed) if near else reference - REACH * allowed
    room = max((best - worst) * 0.12, allowed * 0.25, abs(reference) * 1e-4, 1e-9)
    return Axis(low=sign * (worst - room), high=sign * (best + room), start=start, end=end)


def _points(result: Result, shown: Sequence[Candidate], x: Axis, y: Axis) -> list[Point]:
    colours = series(result)
    ranks = {
        (c.id, c.target): i for i, c in enumerate(words.by_latency(result.candidates), start=1)
    }
    return [
        Point(
            candidate=c,
            rank=ranks[c.id, c.target],
            series=colours[c.runtime],
            x=x.pixel(words.median(c) or 0.0),
            y=y.pixel(c.score or 0.0) - (0 if y.holds(c.score or 0.0) else EDGE),
            is_below=not y.holds(c.score or 0.0),
            is_winner=words.is_same(c, result.winner),
            is_baseline=words.is_same(c, result.baseline),
        )
        for c in shown
    ]


def _mark(point: Point) -> Markup:
    c = point.candidate
    text = (
        f"{point.rank}. {c.label} on {c.runtime}: {words.number(c.score)}, "
        f"{words.milliseconds(words.median(c))} ms, {words.times(c.speedup)}"
    )
    kind = "mark hollow" if c.is_float else "mark"
    parts = [tag("title", text)]
    if point.is_winner:
        parts.append(tag("circle", cx=pixel(point.x), cy=pixel(point.y), r="12", class_="ring"))
    parts.append(symbol(point.series, point.x, point.y, kind))
    if point.is_below:
        x, y = pixel(point.x), pixel(point.y + 10)
        parts.append(tag("path", d=f"M{x} {y}v8m-4 -4l4 4l4 -4", class_="arrow"))
    return tag("g", *parts)


def _labels(points: Sequence[Point], area: Box, taken: Box | None) -> Markup:
    """Names beside the marks where there is room, the rank from the table where there is not."""
    boxes = [around(p.x, p.y) for p in points] + ([taken] if taken else [])
    order = sorted(points, key=lambda p: (not p.is_winner, not p.is_baseline, p.is_below, p.rank))
    written = []
    for point in order:
        star = "\u2605 " if point.is_winner else ""
        texts = [point.label, f"{star}{point.rank}"]
        if point.is_below:
            texts.insert(0, f"{point.label}: {words.number(point.candidate.score)}")
        for text in texts:
            spot = free_spot(text, (point.x, point.y), boxes, area)
            if spot is not None:
                boxes.append(spot)
                name = "label strong" if point.is_winner else "label"
                is_left = spot.right <= point.x
                written.append(_text(text, spot, f"{name} end" if is_left else name))
                break
    return join(written)


def _text(text: str, spot: Box, class_: str) -> Markup:
    x = spot.right - 2 if class_.endswith(" end") else spot.left + 2
    return tag("text", text, x=pixel(x), y=pixel(spot.bottom - 4), class_=class_)


def _grid(x: Axis, y: Axis, area: Box) -> Markup:
    parts: list[Markup] = []
    for value, text in y.ticks(7):
        at = y.pixel(value)
        parts.append(_across(at, area, "grid"))
        parts.append(tag("text", text, x=pixel(area.left - 8), y=pixel(at + 4), class_="tick end"))
    for value, text in x.ticks(6 if area.right > 500 else 4):
        at, below = x.pixel(value), area.bottom + 18
        parts.append(_upright(at, area, "grid"))
        parts.append(tag("text", text, x=pixel(at), y=pixel(below), class_="tick middle"))
    parts += [_across(area.bottom, area, "frame"), _upright(area.left, area, "frame")]
    return join(parts)


def _across(y: float, area: Box, class_: str) -> Markup:
    return tag("path", d=f"M{pixel(area.left)} {pixel(y)}H{pixel(area.right)}", class_=class_)


def _upright(x: float, area: Box, class_: str) -> Markup:
    return tag("path", d=f"M{pixel(x)} {pixel(area.top)}V{pixel(area.bottom)}", class_=class_)


def _beyond(limit: float | None, y: Axis, area: Box) -> Markup | None:
    if limit is None:
        return None
    at = y.pixel(limit)
    below = tag(
        "rect",
        x=pixel(area.left),
        y=pixel(at),
        width=pixel(area.right - area.left),
        height=pixel(area.bottom - at),
        class_="beyond",
    )
    return join((below, _across(at, area, "budget")))


def _budget_text(result: Result, limit: float) -> str:
    return f"budget {words.budget(result)}: {words.number(limit)}"


def _budget_spot(text: str, at: float, points: Sequence[Point], area: Box) -> Box:
    """The first end of the budget's line where no mark lies under its text."""
    wide = text_width(text)
    spots = [
        Box(left=left, top=top, right=left + wide, bottom=top + 18)
        for top in (at + 2, at - 20)
        for left in (area.right - wide, area.left + 4)
    ]
    marks = [around(p.x, p.y) for p in points]
    free = (s for s in spots if area.contains(s) and not any(s.overlaps(m) for m in marks))
    return next(free, spots[0])


def _baseline_line(points: Sequence[Point], area: Box) -> Markup:
    return join(_upright(p.x, area, "baseline") for p in points if p.is_baseline)


def _axis_titles(result: Result, x: Axis, area: Box) -> Markup:
    scale = ", logarithmic" if x.is_log else ""
    direction = (
        "" if result.task.get("higher_is_better", True) else ", lower is better: axis turned"
    )
    middle = (area.top + area.bottom) / 2
    return join(
        (
            tag(
                "text",
                f"median latency in ms{scale} (\u2190 faster)",
                x=pixel((area.left + area.right) / 2),
                y=pixel(area.bottom + 40),
                class_="title middle",
            ),
            tag(
                "text",
                f"{words.metric(result)}{direction} (better \u2192)",
                x="0",
                y="0",
                transform=f"translate(14 {pixel(middle)}) rotate(-90)",
                class_="title middle",
            ),
        )
    )


def _legend(result: Result, width: int) -> Markup:
    parts = []
    for (name, index), (left, row) in zip(
        series(result).items(), _legend_spots(result, width), strict=True
    ):
        y = 14 + 22 * row
        parts.append(symbol(index, left + 6, y))
        parts.append(tag("text", name, x=pixel(left + 20), y=pixel(y + 4), class_="label"))
    return join(parts)


def _legend_spots(result: Result, width: int) -> list[tuple[float, int]]:
    spots, left, row = [], 64.0, 0
    for name in series(result):
        wide = text_width(name) + 36
        if left > 64 and left + wide > width:
            left, row = 64.0, row + 1
        spots.append((left, row))
        left += wide
    return spots


def _legend_rows(result: Result, width: int) -> int:
    return max(row for _, row in _legend_spots(result, width)) + 1
