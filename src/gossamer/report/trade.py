"""What a search weighed against each other, as inline SVG: better is to the left and up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.report import frame, front, words
from gossamer.report.axis import LOG_RATIO, Axis
from gossamer.report.labels import Box
from gossamer.report.markup import Markup, tag
from gossamer.report.points import Point, marks, measured, names, ranks, series, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gossamer.result import Candidate, Result

UNITS = {
    "latency": ("median latency in ms", 1.0),
    "throughput": ("samples per second", 1.0),
    "size": ("size in MB", 1e6),
    "peak-memory": ("peak memory in MB", 1e6),
}


def plane(result: Result, objectives: tuple[str, str], width: int, height: int) -> Markup | None:
    """The plot of two objectives; None unless two candidates have both."""
    known = [
        (c, a, b)
        for c in measured(result)
        if (a := _value(c, objectives[0])) is not None
        and (b := _value(c, objectives[1])) is not None
    ]
    if len(known) < 2:
        return None
    colours, rank = series(result), ranks(result)
    area = Box(
        left=frame.LEFT, top=frame.key_height(colours, width), right=width - 18, bottom=height - 52
    )
    first, second = (_is_less_better(result, name) for name in objectives)
    x = _axis([a for _, a, _ in known], (area.left, area.right), is_less_better=first)
    y = _axis([b for _, _, b in known], (area.top, area.bottom), is_less_better=second)
    points = [
        Point(
            candidate=c,
            rank=rank[front.identity(c)],
            series=colours[c.runtime],
            x=x.pixel(a),
            y=y.pixel(b),
            is_below=False,
            is_winner=words.is_same(c, result.winner),
            is_baseline=words.is_same(c, result.baseline),
            is_on_front=c.id in result.front,
        )
        for c, a, b in known
    ]
    points.sort(key=lambda p: (p.x, p.y))
    is_joined = len(result.objectives) == 2
    titles = [_title(name, axis) for name, axis in zip(objectives, (x, y), strict=True)]
    return tag(
        "svg",
        tag("title", f"{objectives[0]} and {objectives[1]} of every measured candidate"),
        frame.key(colours, width),
        frame.grid(x, y, area),
        steps(points) if is_joined else None,
        marks(points),
        names(points, area, None, is_joined=is_joined),
        frame.titles(f"{titles[0]} (\u2190 better)", f"{titles[1]} (better \u2192)", area),
        viewBox=f"0 0 {width} {height}",
        role="group",
        class_="plot linked",
        style=f"max-width:{width}px",
    )


def _title(name: str, axis: Axis) -> str:
    text = UNITS.get(name, (name, 1.0))[0]
    return f"{text}, logarithmic" if axis.is_log else text


def _value(candidate: Candidate, name: str) -> float | None:
    """What was measured, in the unit of its axis."""
    metrics = {key.replace("_", "-"): value for key, value in candidate.metrics.items()}
    found = {
        "latency": words.median(candidate),
        "throughput": candidate.throughput,
        "size": candidate.size_bytes,
        "peak-memory": candidate.peak_rss_bytes,
        "drop": candidate.drop,
        "score": candidate.score,
    }.get(name, metrics.get(name))
    return found / UNITS.get(name, ("", 1.0))[1] if words.is_number(found) else None


def _is_less_better(result: Result, name: str) -> bool:
    told = next(text for text in result.objectives if front.name_of(text) == name)
    if told.startswith(("minimize", "maximize")):
        return told.startswith("minimize")
    if name in ("score", words.metric(result)):
        return not result.task.get("higher_is_better", True)
    return name != "throughput"


def _axis(values: Sequence[float], ends: tuple[float, float], *, is_less_better: bool) -> Axis:
    """From the better end, which comes first, to the other."""
    low, high = min(values), max(values)
    is_log = low > 0 and high / low > LOG_RATIO
    room = (high - low or abs(high) or 1.0) * 0.15
    low, high = (low / 1.5, high * 1.4) if is_log else (low - room, high + room)
    if not is_log and min(values) >= 0:
        low = max(low, 0.0)
    better, worse = (low, high) if is_less_better else (high, low)
    return Axis(low=better, high=worse, start=ends[0], end=ends[1], is_log=is_log)
