"""How the calls of a model spread over the time they took, as a table of inline SVGs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gossamer.report import points, words
from gossamer.report.axis import LOG_RATIO, Axis
from gossamer.report.front import identity
from gossamer.report.markup import Markup, join, tag
from gossamer.report.parts import number_cell, row, section, table
from gossamer.report.symbols import pixel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gossamer.result import Candidate, Result

MOST = 8  # candidates that are shown
WIDTH, HEIGHT = 340, 32
POINTS, SAMPLES = 90, 400  # of an outline, and what it is smoothed over
COLUMNS = (("median", "num"), ("p90", "num"), ("p99", "num"), ("calls", "num"))


def latencies(result: Result) -> Markup | None:
    """The section with the distributions of the baseline, the winner and the fastest others."""
    shown = _shown(result)
    if not shown:
        return None
    axis = _axis(shown)
    ranks = points.ranks(result)
    floors = [c.noise_floor for c in shown if words.is_number(c.noise_floor)]
    noise = f" Noise floor: {words.percent(max(floors))}." if floors else ""
    left_out = len(points.measured(result)) - len(shown)
    rest = f" {left_out} slower ones are left out." if left_out > 0 else ""
    caption = (
        "The long line is the median, the shorter ones are p90 and p99, where the outline ends; "
        f"each outline has its own height.{rest}{noise}"
    )
    foot = tag("tr", tag("td"), tag("td", _ticks(axis), class_="drawn"), *[tag("td")] * 4)
    lines = [_line(result, c, axis, ranks[identity(c)]) for c in shown]
    scale = ", logarithmic" if axis.is_log else ""
    headers = (("candidate", ""), (f"calls by their latency in ms{scale}", ""), *COLUMNS)
    return section("Latency distributions", table(headers, lines, caption, "sortable", foot=foot))


def _shown(result: Result) -> list[Candidate]:
    """The fastest first; baseline and winner are always among them."""
    measured = points.measured(result)
    needed = [c for c in measured if _is_named(result, c)]
    others = [c for c in measured if not _is_named(result, c)][: MOST - len(needed)]
    return [c for c in measured if c in needed or c in others]


def _is_named(result: Result, candidate: Candidate) -> bool:
    return words.is_same(candidate, result.winner) or words.is_same(candidate, result.baseline)


def _axis(shown: Sequence[Candidate]) -> Axis:
    known = [v for c in shown for v in (*_ends(c),) if words.is_number(v) and v > 0]
    low, high = min(known), max(known)
    is_log = high / low > LOG_RATIO
    room = (high - low or high) * 0.04
    return Axis(
        low=low / 1.1 if is_log else max(0.0, low - room),
        high=high * 1.1 if is_log else high + room,
        start=6.0,
        end=WIDTH - 6.0,
        is_log=is_log,
    )


def _ends(candidate: Candidate) -> tuple[float, ...]:
    """The latencies that the axis has to hold: of the slowest calls only what p99 is."""
    told = candidate.latency_ms or {}
    values = (told.get("median"), told.get("p99"), *candidate.latency_quantiles[:1])
    return tuple(v for v in values if v is not None)


def _line(result: Result, candidate: Candidate, axis: Axis, rank: int) -> Markup:
    told = candidate.latency_ms or {}
    is_winner = words.is_same(candidate, result.winner)
    is_baseline = words.is_same(candidate, result.baseline)
    star = "\u2605 " if is_winner else ""
    below = f"{candidate.runtime}, baseline" if is_baseline else candidate.runtime
    name = tag("th", f"{star}{candidate.label} ", tag("small", below), scope="row")
    median = words.median(candidate)
    return row(
        name,
        tag("td", _strip(candidate, axis), class_="drawn", data_value=median),
        *(number_cell(words.milliseconds(told.get(k)), told.get(k)) for k in _KEYS),
        number_cell(f"{told.get('n', 0):.0f}", told.get("n")),
        class_="winner" if is_winner else None,
        mark=rank,
    )


_KEYS = ("median", "p90", "p99")


def _strip(candidate: Candidate, axis: Axis) -> Markup:
    """One distribution: its outline up to p99, and lines at median, p90 and p99."""
    told = candidate.latency_ms or {}
    foot = HEIGHT - 4.0
    said = ", ".join(f"{k} {words.milliseconds(told.get(k))} ms" for k in _KEYS)
    heights = (("median", HEIGHT - 8.0, "median"), ("p90", 16.0, "far"), ("p99", 10.0, "far"))
    lines = [
        tag("path", d=f"M{pixel(axis.pixel(value))} {pixel(foot)}v-{pixel(tall)}", class_=class_)
        for name, tall, class_ in heights
        if words.is_number(value := told.get(name))
    ]
    return tag(
        "svg",
        tag("title", f"{candidate.label} on {candidate.runtime}: {said}"),
        tag("path", d=f"M{pixel(axis.start)} {pixel(foot)}H{pixel(axis.end)}", class_="foot"),
        _outline(candidate, axis, foot),
        join(lines),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="strip",
    )


def _outline(candidate: Candidate, axis: Axis, foot: float) -> Markup | None:
    found = _density(candidate, axis)
    if found is None:
        return None
    at, heights = found
    tall = foot - 6.0
    corners = [
        f"{pixel(axis.pixel(float(x)))} {pixel(foot - tall * float(h))}"
        for x, h in zip(at, heights, strict=True)
    ]
    first, last = (f"{pixel(axis.pixel(float(x)))} {pixel(foot)}" for x in (at[0], at[-1]))
    line = "L".join(corners)
    return join(
        (
            tag("path", d=f"M{first}L{line}L{last}Z", class_="area"),
            tag("path", d=f"M{line}", class_="edge"),
        )
    )


def _density(
    candidate: Candidate, axis: Axis
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Latencies, and how dense the calls are there against the densest place.

    The quantiles are read as evenly many calls between each two, and smoothed by a Gaussian kernel
    of less than Silverman's width, which would hide modes. The slowest hundredth is left out.
    """
    quantiles = np.asarray(candidate.latency_quantiles, dtype=np.float64)
    top = (candidate.latency_ms or {}).get("p99", math.nan)
    if len(quantiles) < 4 or not np.isfinite([*quantiles, top]).all():
        return None
    if not 0 < quantiles[0] <= top or (np.diff(quantiles) < 0).any():
        return None
    scale = np.log if axis.is_log else np.asarray
    shares = np.linspace(0.0, 1.0, len(quantiles))
    known = np.interp(np.linspace(0.0, 0.99, SAMPLES), shares, quantiles).clip(max=top)
    values = scale(known)
    low, high = float(scale(quantiles[0])), float(scale(top))
    quarters = np.quantile(values, [0.25, 0.75])
    wide = min(float(values.std()), float(quarters[1] - quarters[0]) / 1.34)
    wide = max(0.4 * wide * SAMPLES**-0.2, (high - low) / POINTS, 1e-9)
    at = np.linspace(low - 2 * wide, max(high, low + 1e-9), POINTS)
    heights = np.exp(-0.5 * ((at[:, None] - values[None, :]) / wide) ** 2).sum(axis=1)
    return (np.exp(at) if axis.is_log else at), heights / heights.max()


def _ticks(axis: Axis) -> Markup:
    parts = [
        join(
            (
                tag("path", d=f"M{pixel(axis.pixel(v))} 0v5", class_="far"),
                tag("text", text, x=pixel(min(max(axis.pixel(v), 12), WIDTH - 14)), y="17"),
            )
        )
        for v, text in axis.ticks(5)
    ]
    return tag("svg", join(parts), viewBox=f"0 0 {WIDTH} 22", class_="strip", aria_hidden="true")
