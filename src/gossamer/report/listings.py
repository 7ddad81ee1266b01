"""The two long lists of the HTML report: every candidate, and every site of the winner."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gossamer.report import points, words
from gossamer.report.markup import Markup, tag
from gossamer.report.parts import TABLE, number_cell, row, section, synthetic_badge, table
from gossamer.report.symbols import symbol

if TYPE_CHECKING:
    from collections.abc import Iterator

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


FACETS = ("runtime", "budget", "status", "step")


def candidates(result: Result) -> Markup:
    """The table of every candidate, the fastest first, failures with their reason last."""
    colours = points.series(result)
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
        table(HEADERS, lines, caption, TABLE + " linked", FACETS)
        if lines
        else tag("p", "There are none."),
        badge=synthetic_badge(result),
    )


def plan(result: Result) -> Markup | None:
    """What happened at every site of the winner, and why."""
    best = result.winner
    if best is None:
        return None
    if not best.plan:
        return section(
            "Plan",
            tag("p", "The winner is a float model: no site was changed."),
            _sensitivity(result) if result.sensitivity else None,
        )
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
    known = bool(result.sensitivity)
    headers = (
        *(("site", ""), ("operator", ""), ("decision", "")),
        *((("stored as", ""),) if any(best.storage) else ()),
        *((("alone, dB", "num"),) if known else ()),
        ("reason", ""),
    )
    lines = list(_plan_rows(result, best))
    done = counts.get("quantized", 0)
    rest = "; every other one has its reason" if done < len(best.plan) else ""
    return section(
        "Plan of the winner",
        tag("p", f"{done} of {len(best.plan)} sites are quantized{rest}."),
        tag("ul", *chips, class_="counts"),
        tag(
            "details",
            tag("summary", f"All {len(best.plan)} sites"),
            table(headers, lines, _order(known), TABLE, ("operator", "decision")),
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
    is_measured = c.status == "ok"
    within = "within" if c.within_budget else "over"
    return row(
        *cells,
        class_="winner" if is_winner else None if is_measured else "off",
        mark=rank,
        facets=(
            c.runtime,
            within if is_measured else "",
            "measured" if is_measured else c.status,
            _steps(c),
        ),
    )


def _steps(candidate: Candidate) -> tuple[str, ...]:
    """The kinds of steps of its recipe, each once."""
    recipe = candidate.recipe
    steps = [*recipe.get("module-steps", ()), *(recipe.get("graph-steps") or ())]
    names = (str(name) for step in steps for name in (step if isinstance(step, dict) else [step]))
    return tuple(dict.fromkeys(names)) or ("none: float",)


ALONE = (
    "Alone: signal over noise of the worst output where that site alone is quantized, over a few "
    "calibration samples; less is worse."
)


def _order(is_ranked: bool) -> str:
    order = "In the order in which the model runs them."
    return f"{order} {ALONE}" if is_ranked else order


def _sensitivity(result: Result) -> Markup:
    """The sites that were tried in int8 and cost too much, the worst first."""
    ranked = sorted(result.sensitivity.items(), key=lambda pair: pair[1])
    lines = [
        row(tag("th", tag("code", site), scope="row"), number_cell(words.decibels(db), db))
        for site, db in ranked
    ]
    return table((("site", ""), ("alone, dB", "num")), lines, ALONE, TABLE)


def _plan_rows(result: Result, best: Candidate) -> Iterator[Markup]:
    storage = best.storage or ("",) * len(best.plan)
    for (site, op, reason, detail), stored in zip(best.plan, storage, strict=False):
        colour = "good" if reason == "quantized" else ""
        badge = tag("span", reason, class_=f"badge {colour}".rstrip())
        alone = result.sensitivity.get(site)
        yield row(
            tag("th", tag("code", site), scope="row"),
            tag("td", op),
            tag("td", badge, data_value=reason),
            *([tag("td", stored or words.NOTHING)] if any(storage) else []),
            *([number_cell(words.decibels(alone), alone)] if result.sensitivity else []),
            tag("td", detail or words.NOTHING, class_="why"),
            facets=(op, reason),
        )


def _operators(candidate: Candidate, reason: str) -> str:
    ops = Counter(op for _, op, why, _ in candidate.plan if why == reason)
    return ", ".join(f"{op} {count}" for op, count in ops.most_common())
