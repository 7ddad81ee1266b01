"""A benchmark as one self-contained HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.report import curves, words
from gossamer.report.markup import Markup, tag
from gossamer.report.page import page as whole_page
from gossamer.report.parts import TABLE, facts, mapping, number_cell, row, section, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gossamer.report.bench_document import Row

FACETS = ("model", "runtime", "batch", "length")


def page(document: dict[str, Any]) -> str:
    """The whole text of the file, for a document that `bench_document.read` took."""
    rows = _shortened(document["rows"])
    where = mapping(document.get("environment"))
    body = tag(
        "main",
        _head(rows, where),
        curves.curves(_timed(rows), _MEDIANS) if not _is_loaded(rows) else None,
        _rows(rows),
        _operators(document.get("operators")),
        section("Environment", facts(where)),
        tag("footer", "Written by gossamer from a document of bench --json."),
    )
    return whole_page("gossamer bench", body)


_MEDIANS = "Medians; the p90 and p99 of each point stand in the table, and at its mark."


def _shortened(rows: list[Row]) -> list[Row]:
    """The same rows; models are called by their file where that tells them apart."""
    files = {each["model"]: str(each["model"]).rstrip("/").rsplit("/", 1)[-1] for each in rows}
    if len(set(files.values())) < len(files):
        return rows
    return [{**each, "model": files[each["model"]]} for each in rows]


def _head(rows: list[Row], where: dict[str, Any]) -> Markup:
    first = f"{rows[0]['model']} on {rows[0]['runtime']}" if rows else ""
    threads = f", {where['threads']} threads" if where.get("threads") else ""
    place = f"{where.get('cpu') or 'an unnamed CPU'}{threads}"
    return tag(
        "header",
        tag("div", tag("span", "gossamer bench"), tag("strong", first), class_="top"),
        tag("h1", _headline(rows, first) if rows else "Nothing was measured."),
        tag("p", f"Ratios are medians over turns with {first}. Measured on {place}.")
        if rows
        else None,
    )


def _headline(rows: list[Row], first: str) -> str:
    """The row whose interval is highest, if noise does not explain it."""
    best = max(rows, key=lambda each: float(each["ratio_interval"][0]))
    low, high = (float(end) for end in best["ratio_interval"])
    if low <= 1 + best["noise_floor"]:
        return f"Nothing is faster than {first} by more than noise explains."
    point = f"batch {best['batch']}, length {best['length']}, 95 %: {low:.2f} to {high:.2f}"
    return f"{best['model']} on {best['runtime']} is {best['ratio']:.2f} times as fast ({point})."


def _is_loaded(rows: list[Row]) -> bool:
    """Whether several rows share a point, as they were loaded in different ways."""
    return any("load" in each for each in rows)


def _timed(rows: list[Row]) -> Iterator[curves.Measured]:
    for each in rows:
        median, rate = _number(each, "latency_ms", "median"), _number(each, "throughput")
        if median is None or rate is None or not _are_whole(each):
            continue
        tails = (
            f"{name} {words.milliseconds(_number(each, 'latency_ms', name))} ms"
            for name in ("p90", "p99")
        )
        yield curves.Measured(
            name=f"{each['model']} on {each['runtime']}",
            batch=each["batch"],
            length=each["length"],
            latency=median,
            throughput=rate,
            told=", ".join(tails),
        )


def _are_whole(each: Row) -> bool:
    return all(isinstance(each[key], int) and each[key] > 0 for key in ("batch", "length"))


def _rows(rows: list[Row]) -> Markup:
    shown = [c for c in _COLUMNS if any(c[1](each) is not None for each in rows)]
    headers = [("model", ""), ("runtime", ""), *((head, "num") for head, _, _ in shown)]
    lines = [
        row(
            tag("th", str(each["model"]), scope="row"),
            tag("td", str(each["runtime"])),
            *(number_cell(say(v), v) for v, say in ((of(each), say) for _, of, say in shown)),
            facets=tuple(str(each[key]) for key in FACETS),
        )
        for each in rows
    ]
    floors = [float(each["noise_floor"]) for each in rows]
    calls = [n for each in rows if (n := _number(each, "latency_ms", "n")) is not None]
    told = f" {min(calls):.0f} to {max(calls):.0f} calls each." if calls else ""
    noise = f" Largest noise floor: {words.percent(max(floors))}." if floors else ""
    caption = f"{len(rows)} rows.{told}{noise}"
    return section("What was measured", table(headers, lines, caption, TABLE, FACETS))


def _number(each: Row, *path: str) -> float | None:
    """A number within a row; None where there is none."""
    value: Any = each
    for key in path:
        value = mapping(value).get(key)
    return value if not isinstance(value, bool) and words.is_number(value) else None


def _plain(value: float | None) -> str:
    return f"{value:g}" if value is not None else words.NOTHING


_COLUMNS: tuple[tuple[str, Callable[[Row], float | None], Callable[[float | None], str]], ...] = (
    ("batch", lambda r: _number(r, "batch"), _plain),
    ("length", lambda r: _number(r, "length"), _plain),
    ("instances", lambda r: _number(r, "load", "instances"), _plain),
    ("cores each", lambda r: _number(r, "load", "cores_per_instance"), _plain),
    ("rate", lambda r: _number(r, "load", "rate"), _plain),
    ("median, ms", lambda r: _number(r, "latency_ms", "median"), words.milliseconds),
    ("p90", lambda r: _number(r, "latency_ms", "p90"), words.milliseconds),
    ("p99", lambda r: _number(r, "latency_ms", "p99"), words.milliseconds),
    ("service, ms", lambda r: _number(r, "load", "service_ms"), words.milliseconds),
    ("unanswered", lambda r: _number(r, "load", "unanswered"), _plain),
    ("cold start, ms", lambda r: _number(r, "cold_start_ms", "median"), words.milliseconds),
    ("per second", lambda r: _number(r, "throughput"), words.milliseconds),
    ("ratio", lambda r: _number(r, "ratio"), words.times),
    ("95 % from", lambda r: float(r["ratio_interval"][0]), words.times),
    ("to", lambda r: float(r["ratio_interval"][1]), words.times),
    ("size", lambda r: _number(r, "size_bytes"), words.size),
    ("peak memory", lambda r: _number(r, "peak_rss_bytes"), words.size),
)


def _operators(entries: object) -> Markup | None:
    """Which operators each model spends its time in, and its slowest nodes."""
    told = [mapping(each) for each in entries] if isinstance(entries, list) else []
    return section("Operators", *map(_entry, told)) if told else None


def _entry(told: dict[str, Any]) -> Markup:
    point = f"batch {told.get('batch')}, length {told.get('length')}"
    title = tag("summary", f"{told.get('model')} on {told.get('runtime')}, {point}")
    types, slowest = (
        [mapping(each) for each in told.get(key) or () if isinstance(each, dict)]
        for key in ("types", "slowest")
    )
    if not types:
        return tag("details", title, tag("p", "The runtime does not tell."))
    return tag(
        "details",
        title,
        table(
            (("operator", ""), ("nodes", "num"), ("ms", "num"), ("share", "num")),
            [_operator(each) for each in types],
            f"{words.milliseconds(_number(told, 'total_ms'))} ms in all operators.",
            "sortable",
        ),
        table(
            (("node", ""), ("operator", ""), ("kernel", ""), ("ms", "num"), ("share", "num")),
            [_node(each) for each in slowest],
            "The slowest nodes.",
            "sortable",
        ),
    )


def _operator(each: dict[str, Any]) -> Markup:
    nodes = _number(each, "nodes")
    return row(
        tag("th", str(each.get("operator")), scope="row"),
        number_cell(_plain(nodes), nodes),
        *_costs(each),
    )


def _node(each: dict[str, Any]) -> Markup:
    return row(
        tag("th", tag("code", str(each.get("name"))), scope="row"),
        tag("td", str(each.get("operator"))),
        tag("td", str(each.get("kernel"))),
        *_costs(each),
    )


def _costs(each: dict[str, Any]) -> tuple[Markup, Markup]:
    ms, share = _number(each, "ms"), _number(each, "share")
    return number_cell(words.milliseconds(ms), ms), number_cell(words.percent(share), share)
