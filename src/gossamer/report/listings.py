"""The two long lists of the HTML report: every candidate, and every site of the winner."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gossamer.report import plot, words
from gossamer.report.markup import Markup, tag
from gossamer.report.parts import number_cell, section, synthetic_badge, table
from gossamer.report.symbols import symbol

if TYPE_CHECKING:
    from gossamer.result import Candidate, Result

HEADERS = (
    ("#", "num"),
    ("candidate", ""),
    ("runtime", ""),
    ("score", "num"),
    ("drop", "num"),
    ("latency, ms", "num"),
    ("speed-up (95 %)", "num"),
    ("size", "num"),
    ("peak memory", "num"),
    ("status and reason", ""),
)


def candidates(result: Result) -> Markup:
    """The table of every candidate, the fastest first, failures with their reason last."""
    colours = plot.series(result)
    lines = [
        _candidate_row(result, c, rank, colours[c.runtime])
        for rank, c in enumerate(words.by_latency(result.candidates), start=1)
    ]
    ok = sum(c.status == "ok" for c in result.candidates)
    count = len(result.candidates)
    plural = "" if count == 1 else "s"
    caption = f"{count} candidate{plural}, {ok} measured, {count - ok} failed or skipped."
    return section(
        "Candidates",
        table(HEADERS, lines, caption, "sortable") if lines else tag("p", "There are none."),
        badge=synthetic_badge(result),
    )


def plan(result: Result) -> Markup | None:
    """What happened at every site of the winner, and why."""
    best = result.winner
    if best is None:
        return None
    if not best.plan:
        return section("Plan", tag("p", "The winner is a float model: no site was changed."))
    counts = Counter(reason for _, _, reason, _ in best.plan)
    chips = [
        tag(
            "li",
            tag("b", str(count)),
            f" {reason} ",
            tag("span", f"({_operators(best, reason)})", class_="soft"),
        )
        for reason, count in counts.most_common()
    ]
    headers = (("site", ""), ("operator", ""), ("decision", ""), ("reason", ""))
    lines = [_plan_row(*row) for row in best.plan]
    done = counts.get("quantized", 0)
    return section(
        "Plan of the winner",
        tag(
            "p", f"{done} of {len(best.plan)} sites are quantized; every other one has its reason."
        ),
        tag("ul", *chips, class_="counts"),
        tag(
            "details",
            tag("summary", f"All {len(best.plan)} sites"),
            table(headers, lines, "In the order in which the model runs them.", "sortable"),
        ),
    )


def _candidate_row(result: Result, c: Candidate, rank: int, series: int) -> Markup:
    is_winner = words.is_same(c, result.winner)
    key = tag(
        "svg",
        symbol(series, 7, 7, "mark hollow" if c.is_float else "mark"),
        class_="key",
        viewBox="0 0 14 14",
        aria_hidden="true",
    )
    ends = None if words.is_same(c, result.baseline) else c.speedup_interval
    cells = (
        number_cell(str(rank), rank),
        tag("th", f"\u2605 {c.label}" if is_winner else c.label, scope="row"),
        tag("td", key, c.runtime, data_value=c.runtime),
        number_cell(words.number(c.score), c.score),
        number_cell(words.drop_units(c), c.drop, words.drop_percent(c)),
        number_cell(words.milliseconds(words.median(c)), words.median(c)),
        number_cell(words.times(c.speedup), c.speedup, words.interval(ends) if ends else ""),
        number_cell(words.size(c.size_bytes), c.size_bytes),
        number_cell(words.size(c.peak_rss_bytes), c.peak_rss_bytes),
        tag("td", words.status(c, result.winner, result.baseline), class_="why"),
    )
    name = "winner" if is_winner else "off" if c.status != "ok" else None
    return tag("tr", *cells, class_=name)


def _plan_row(site: str, op: str, reason: str, detail: str) -> Markup:
    colour = "good" if reason == "quantized" else ""
    return tag(
        "tr",
        tag("th", tag("code", site), scope="row"),
        tag("td", op),
        tag("td", tag("span", reason, class_=f"badge {colour}".rstrip()), data_value=reason),
        tag("td", detail or words.NOTHING, class_="why"),
    )


def _operators(candidate: Candidate, reason: str) -> str:
    ops = Counter(op for _, op, why, _ in candidate.plan if why == reason)
    return ", ".join(f"{op} {count}" for op, count in ops.most_common())
