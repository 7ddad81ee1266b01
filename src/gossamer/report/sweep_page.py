"""A sweep as one self-contained HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.report import curves, words
from gossamer.report.markup import Markup, tag
from gossamer.report.page import page as whole_page
from gossamer.report.parts import TABLE, facts, number_cell, row, section, table
from gossamer.report.sweep_card import model_name, said, shown
from gossamer.report.symbols import SERIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossamer.swept import Swept, SweptSetting, Timing

TIMES = (
    ("batch", "num"), ("length", "num"), ("median, ms", "num"), ("p90", "num"), ("p99", "num"),
    ("per second", "num"), ("speed-up (95 %)", "num"), ("peak memory", "num"),
)  # fmt: skip


def page(swept: Swept) -> str:
    """The whole text of the file."""
    body = tag(
        "main",
        _head(swept),
        _curves(swept),
        _scores(swept),
        _times(swept),
        _told(swept),
        section("Parameters that all settings share", facts(swept.fixed)),
        section(
            "Environment",
            facts(swept.environment),
            tag("h3", "Task"),
            facts(swept.task),
            tag("h3", "Model"),
            facts(swept.model),
        ),
        _reproduce(swept),
        tag("footer", "Written by gossamer. The same numbers, for programs: sweep.json."),
    )
    return whole_page(f"{model_name(swept)}: gossamer sweep", body)


def _head(swept: Swept) -> Markup:
    measured = sum(s.status == "ok" for s in swept.settings)
    synthetic = bool(swept.task.get("synthetic"))
    cpu, cores = swept.environment.get("cpu"), swept.environment.get("cores")
    headline, best = _headline(swept)
    return tag(
        "header",
        tag(
            "div",
            tag("span", "gossamer sweep"),
            tag("strong", model_name(swept)),
            tag("span", "synthetic data", class_="badge warn") if synthetic else None,
            class_="top",
        ),
        tag("h1", headline),
        tag("p", f"By {said(best, swept)}.", class_="lead") if best is not None else None,
        tag(
            "p",
            f"{measured} of {len(swept.settings)} settings measured, which make {swept.files} "
            f"different files, on {cpu}, {cores} cores, in {words.duration(swept.seconds)}. The "
            f"score is {swept.task['metric']} over {swept.task['rows']} rows; a drop is against "
            "the float model, with its paired 95 % interval.",
            class_="soft",
        ),
    )


def _headline(swept: Swept) -> tuple[str, SweptSetting | None]:
    """The fastest setting that may have lost nothing: what published tables recommend."""
    able = [
        (timing.speedup, s)
        for s in swept.settings
        if not s.is_baseline and s.drop_interval and s.drop_interval[0] <= 0
        for timing in s.timings
        if timing.speedup is not None and timing.speedup > 1 + (timing.noise_floor or 0.0)
    ]
    if not able:
        return "No setting is faster than float without a loss that is certain.", None
    speedup, best = max(able, key=lambda pair: pair[0])
    return f"{words.times(speedup)} as fast as float, and no loss that is certain.", best


def _label(setting: SweptSetting, swept: Swept) -> str:
    return "float32" if setting.is_baseline else said(setting, swept)


def _curves(swept: Swept) -> Markup | None:
    """The baseline and the fastest of the different files."""
    measured = [s for s in swept.settings if any(not t.reason for t in s.timings)]
    ordered = sorted(measured, key=lambda s: (not s.is_baseline, -_speed(s)))
    first: dict[tuple[str | None, int], SweptSetting] = {}
    for setting in ordered:
        first.setdefault((setting.file, setting.threads), setting)
    drawn = list(first.values())[:SERIES]
    points = [
        curves.Measured(
            name=_label(setting, swept),
            batch=t.batch,
            length=t.length,
            latency=t.latency_ms.get("median", 0.0),
            throughput=t.throughput or 0.0,
            told=f"{words.times(t.speedup)}, p99 {words.milliseconds(t.latency_ms.get('p99'))} ms",
        )
        for setting in drawn
        for t in setting.timings
        if not t.reason
    ]
    rest = len(first) - len(drawn)
    note = f"Float and the fastest; {rest} slower files stand in the table alone." if rest else ""
    return curves.curves(points, note)


def _speed(setting: SweptSetting) -> float:
    return max((t.speedup or 0.0 for t in setting.timings), default=0.0)


def _scores(swept: Swept) -> Markup:
    names = list(swept.varied)
    headers = (
        ("setting", ""),
        *((metric, "num") for metric in swept.metrics),
        *(("drop (95 %)", "num"), ("size", "num"), ("status", "")),
    )
    lines = [
        row(
            tag("th", _label(setting, swept), scope="row"),
            *(number_cell(words.number(v), v) for v in map(setting.metrics.get, swept.metrics)),
            _drop(setting),
            number_cell(words.size(setting.size_bytes), setting.size_bytes),
            tag("td", "; ".join(_remarks(setting)) or "measured", class_="why"),
            facets=_values(setting, names),
            class_=None if setting.status == "ok" else "off",
        )
        for setting in swept.settings
    ]
    caption = f"{len(lines)} settings."
    return section("Scores", table(headers, lines, caption, TABLE, _short(names)))


def _drop(setting: SweptSetting) -> Markup:
    if setting.is_baseline or setting.drop is None:
        return number_cell(words.NOTHING, None)
    ends = setting.drop_interval
    value = setting.drop if round(setting.drop, 4) else 0.0
    return number_cell(f"{value:.4f}", value, f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else "")


def _remarks(setting: SweptSetting) -> Iterator[str]:
    if setting.reason:
        yield f"{setting.status}: {setting.reason}"
    yield from setting.remarks


def _times(swept: Swept) -> Markup:
    names = list(swept.varied)
    lines = [
        _time(setting, timing, swept, _values(setting, names))
        for setting in swept.settings
        for timing in setting.timings
    ]
    floors = [t.noise_floor or 0.0 for s in swept.settings for t in s.timings]
    caption = (
        f"Each setting was timed for {swept.point_seconds:g} seconds at each point, in turns with "
        f"the float model. Largest noise floor: {words.percent(max(floors, default=0.0))}."
    )
    facets = (*_short(names), "batch", "length")
    return section("Times", table((("setting", ""), *TIMES), lines, caption, TABLE, facets))


def _time(setting: SweptSetting, timing: Timing, swept: Swept, values: tuple[str, ...]) -> Markup:
    told, length = timing.latency_ms, timing.length
    ends = None if setting.is_baseline else timing.speedup_interval
    below = words.interval(ends) if ends else timing.reason
    return row(
        tag("th", _label(setting, swept), scope="row"),
        number_cell(str(timing.batch), timing.batch),
        number_cell(words.NOTHING if length is None else str(length), length),
        *(number_cell(words.milliseconds(told.get(k)), told.get(k)) for k in _KEYS),
        number_cell(words.milliseconds(timing.throughput), timing.throughput),
        number_cell(words.times(timing.speedup), timing.speedup, below),
        number_cell(words.size(timing.peak_rss_bytes), timing.peak_rss_bytes),
        facets=(*values, str(timing.batch), "" if length is None else str(length)),
        class_="off" if timing.reason else None,
    )


_KEYS = ("median", "p90", "p99")


def _short(names: list[str]) -> tuple[str, ...]:
    return tuple(each.rsplit(".", 1)[-1].replace("_", " ").replace("|", "/") for each in names)


def _values(setting: SweptSetting, names: list[str]) -> tuple[str, ...]:
    values: list[Any] = [setting.values.get(each) for each in names]
    return tuple("" if value is None else shown(value) for value in values)


def _told(swept: Swept) -> Markup | None:
    """What was measured otherwise than asked for."""
    if not swept.remarks:
        return None
    return section(
        "Measured otherwise than asked for", tag("ul", *(tag("li", r) for r in swept.remarks))
    )


def _reproduce(swept: Swept) -> Markup | None:
    if not swept.command:
        return None
    return section("Reproduce", tag("pre", tag("code", swept.command)))
