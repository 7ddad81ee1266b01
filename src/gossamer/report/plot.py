"""The accuracy-latency plot as inline SVG: every measured candidate, the budget, the winner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.report import frame, front, words
from gossamer.report.axis import LOG_RATIO, Axis
from gossamer.report.labels import Box, around
from gossamer.report.labels import width as text_width
from gossamer.report.markup import Markup, join, tag
from gossamer.report.points import Point, marks, measured, names, ranks, series, steps, text_at
from gossamer.report.symbols import pixel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossamer.result import Candidate, Result

REACH = 6.0  # scores worse than this many budgets are drawn on the plot's edge
EDGE = 22.0  # room for marks that lie on the end of an axis


def accuracy_latency(result: Result, width: int, height: int) -> Markup | None:
    """The plot, `width` x `height` pixels large before scaling; None if nothing was measured.

    Better is always up: for a score where lower is better the axis is turned around.
    """
    shown = measured(result)
    if not shown:
        return None
    top = frame.key_height(series(result), width)
    x = _latency_axis(shown, frame.LEFT, width - 18)
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
        frame.key(series(result), width),
        frame.grid(x, y, area),
        _beyond(limit, y, area),
        _baseline_line(points, area),
        steps(points),
        marks(points),
        names(points, area, spot),
        text_at(text, spot, "label budget-text") if spot else None,
        _axis_titles(result, x, area),
        viewBox=f"0 0 {width} {height}",
        role="group",
        class_="plot linked",
        style=f"max-width:{width}px",
    )


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
    colours, rank = series(result), ranks(result)
    best = {front.identity(c) for c in front.of_latency_and_score(result, shown)}
    return [
        Point(
            candidate=c,
            rank=rank[front.identity(c)],
            series=colours[c.runtime],
            x=x.pixel(words.median(c) or 0.0),
            y=y.pixel(c.score or 0.0) - (0 if y.holds(c.score or 0.0) else EDGE),
            is_below=not y.holds(c.score or 0.0),
            is_winner=words.is_same(c, result.winner),
            is_baseline=words.is_same(c, result.baseline),
            is_on_front=front.identity(c) in best,
        )
        for c in shown
    ]


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
    return join((below, frame.across(at, area, "budget")))


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
    return join(frame.upright(p.x, area, "baseline") for p in points if p.is_baseline)


def _axis_titles(result: Result, x: Axis, area: Box) -> Markup:
    scale = ", logarithmic" if x.is_log else ""
    direction = (
        "" if result.task.get("higher_is_better", True) else ", lower is better: axis turned"
    )
    return frame.titles(
        f"median latency in ms{scale} (\u2190 faster)",
        f"{words.metric(result)}{direction} (better \u2192)",
        area,
    )
