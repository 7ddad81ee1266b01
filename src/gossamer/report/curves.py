"""Lines over lengths or batch sizes, as inline SVG, and the key of several such figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from gossamer.report import frame, words
from gossamer.report.axis import LOG_RATIO, Axis
from gossamer.report.labels import Box
from gossamer.report.markup import Markup, join, tag
from gossamer.report.parts import section
from gossamer.report.symbols import SERIES, pixel, symbol

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH, HEIGHT = 420, 270


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What one model took at one batch size and length.

    Attributes:
        name: Of the line that it is a point of.
        batch: Samples per call.
        length: Tokens of each; None for models without a sequence.
        latency: Median in milliseconds.
        throughput: Samples per second.
        told: What else there is to say about it.
    """

    name: str
    batch: int
    length: int | None
    latency: float
    throughput: float
    told: str = ""


def curves(timed: Iterable[Measured], note: str = "") -> Markup | None:
    """Latency and throughput over the length for every batch size, over the batch where one length.

    None where everything was timed at one point.
    """
    points = [t for t in timed if t.latency > 0 and t.throughput > 0]
    series = {name: i for i, name in enumerate(dict.fromkeys(t.name for t in points))}
    by_length = len({t.length for t in points}) > 1
    if not by_length and len({t.batch for t in points}) < 2:
        return None
    groups = sorted(points, key=lambda t: t.batch) if by_length else points
    figures = []
    for batch, group in groupby(groups, key=lambda t: t.batch if by_length else None):
        mine = list(group)
        fixed = f"batch {batch}" if by_length else f"length {mine[0].length or words.NOTHING}"
        along = (lambda t: float(t.length or 0)) if by_length else (lambda t: float(t.batch))
        named = "length" if by_length else "batch size"
        for title, unit, value in _VALUES:
            svg = _figure(mine, series, (named, f"{title} in {unit}"), (along, value))
            figures.append(tag("figure", tag("figcaption", f"{title}, {fixed}"), svg))
    return section(
        f"Latency and throughput by {'length' if by_length else 'batch size'}",
        tag("ul", *(_entry(n, i) for n, i in series.items()), class_="key-list"),
        tag("div", *figures, class_="pairs"),
        tag("p", note, class_="soft") if note else None,
    )


_VALUES: tuple[tuple[str, str, Callable[[Measured], float]], ...] = (
    ("Median latency", "ms", lambda t: t.latency),
    ("Throughput", "samples per second", lambda t: t.throughput),
)


def _figure(
    points: Sequence[Measured],
    series: dict[str, int],
    names: tuple[str, str],
    of: tuple[Callable[[Measured], float], Callable[[Measured], float]],
) -> Markup:
    along, value = of
    area = Box(left=frame.LEFT, top=12.0, right=WIDTH - 14.0, bottom=HEIGHT - 48.0)
    x = _axis([along(p) for p in points], area.left + 8, area.right - 8, is_log=True)
    y = _axis([value(p) for p in points], area.bottom, area.top)
    lines = []
    for name, index in series.items():
        mine = sorted((p for p in points if p.name == name), key=along)
        if not mine:
            continue
        spots = [(x.pixel(along(p)), y.pixel(value(p))) for p in mine]
        path = "L".join(f"{pixel(a)} {pixel(b)}" for a, b in spots)
        marks = [
            tag("g", tag("title", _said(p)), symbol(index % SERIES, a, b, "mark", 4.0))
            for p, (a, b) in zip(mine, spots, strict=True)
        ]
        lines += [tag("path", d=f"M{path}", class_=f"line s{index % SERIES}"), *marks]
    scale = ", logarithmic" if y.is_log else ""
    ticks = sorted({along(p) for p in points})
    return tag(
        "svg",
        tag("title", f"{names[1]} by {names[0]}"),
        frame.grid(x, y, area, [(v, f"{v:g}") for v in ticks]),
        join(lines),
        frame.titles(names[0], f"{names[1]}{scale}", area),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="plot",
    )


def _axis(values: Sequence[float], start: float, end: float, *, is_log: bool = False) -> Axis:
    low, high = min(values), max(values)
    if is_log:
        same = low == high
        return Axis(low=low / 2 if same else low, high=high * 2 if same else high,
                    start=start, end=end, is_log=True)  # fmt: skip
    if high / low > LOG_RATIO:
        return Axis(low=low / 1.3, high=high * 1.3, start=start, end=end, is_log=True)
    return Axis(low=0.0, high=high * 1.1, start=start, end=end)


def _said(point: Measured) -> str:
    length = f", length {point.length}" if point.length is not None else ""
    told = f"; {point.told}" if point.told else ""
    return (
        f"{point.name}, batch {point.batch}{length}: {words.milliseconds(point.latency)} ms, "
        f"{words.milliseconds(point.throughput)} samples per second{told}"
    )


def _entry(name: str, index: int) -> Markup:
    mark = symbol(index % SERIES, 7, 7)
    key = tag("svg", mark, class_="key", viewBox="0 0 14 14", aria_hidden="true")
    return tag("li", key, name)
