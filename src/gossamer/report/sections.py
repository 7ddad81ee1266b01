"""The sections of the HTML report, in the order in which they stand on the page."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from gossamer.report import front, plot, points, trade, words
from gossamer.report.markup import Markup, join, tag
from gossamer.report.parts import facts, mapping, readable, section, synthetic_badge, tile

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer.result import Candidate, Result

MANY = 12  # sizes in sight; the others unfold
VERDICTS = {
    "met": ("budget met", "good"),
    "best_effort": ("best effort", "warn"),
    "failed": ("failed", "bad"),
}


def head(result: Result) -> Markup:
    """The verdict in plain words, and what it rests on."""
    name, colour = VERDICTS[result.verdict]
    score = words.verdict_score(result)
    done = "Measured on" if result.winner else "Tried on"
    where = f"{done} {words.place(result)}, in {words.duration(result.seconds)}."
    return tag(
        "header",
        tag(
            "div",
            tag("span", "gossamer"),
            tag("strong", words.model_name(result)),
            tag("span", name, class_=f"badge {colour}"),
            synthetic_badge(result),
            class_="top",
        ),
        tag("h1", f"{words.headline(result)}."),
        tag("p", f"{score[0].upper()}{score[1:]}.", class_="lead") if score else None,
        tag("p", result.reason) if result.reason else None,
        tag("p", where, class_="soft"),
        synthetic_notice(result),
    )


def synthetic_notice(result: Result) -> Markup | None:
    """What scores on made-up inputs are worth."""
    if not words.is_synthetic(result):
        return None
    return tag(
        "p",
        tag("strong", "Synthetic data. "),
        "The inputs were made up from the model's signature. The score says how closely the "
        "compressed model follows the float model on such inputs; it says nothing about accuracy "
        "on real ones. Run again with --data before you rely on it.",
        class_="notice",
        role="note",
    )


def winner(result: Result) -> Markup | None:
    """Everything measured about the winner."""
    best = result.winner
    if best is None:
        return None
    latency = best.latency_ms or {}
    held_out = words.is_number(best.report_score)
    score = best.report_score if held_out else best.score
    tiles = (
        (words.times(best.speedup), _speed_tile(result, best)),
        (f"{words.milliseconds(words.median(best))} ms", "median latency"),
        (
            words.number(score),
            f"{words.metric(result)}, {'report' if held_out else 'search'} split",
        ),
        (words.size(best.size_bytes), _size_change(result)),
    )
    measured = {
        "Recipe": f"{best.label} on {best.target}",
        "Latency": ", ".join(
            f"{name} {words.milliseconds(latency.get(name))} ms"
            for name in ("median", "p90", "p99")
        )
        + f" over {latency.get('n', 0):.0f} calls",
        "Throughput": f"{words.milliseconds(best.throughput)} samples per second",
        "Speed-up": _speed_fact(best),
        "Peak memory": words.size(best.peak_rss_bytes),
        "Search split": _search_fact(result, best),
        "Report split": _report_fact(result, best),
        **_metric_facts(best, words.metric(result)),
        "Safe on": words.cpu_words(best),
        **({"Target": f"{best.target}: {doubt}"} if (doubt := words.unproven(best)) else {}),
        "Files": ", ".join(best.files) or (best.path or words.NOTHING),
    }
    return section(
        "Winner" if result.verdict == "met" else "Best effort",
        tag("div", join(tile(*t) for t in tiles), class_="tiles"),
        facts(measured),
        badge=synthetic_badge(result),
    )


def chart(result: Result) -> Markup | None:
    """The plot, once for wide screens and once for narrow ones."""
    drawn = _twice(functools.partial(plot.accuracy_latency, result))
    if drawn is None:
        return None
    return section(
        "Accuracy against latency",
        *drawn,
        tag(
            "p",
            "The line joins what no other candidate beats in both; what is beaten is fainter. "
            "Hollow marks are float32 models, the ringed one is the winner, the dotted line is the "
            "baseline's latency. Marks that point down lie below the plot; numbers are rows of the "
            "table.",
            class_="soft",
        ),
        badge=synthetic_badge(result),
    )


def trades(result: Result) -> Markup | None:
    """The plots of a search that looked for something else than speed and score."""
    parts = []
    for pair in front.planes(result):
        found = _twice(functools.partial(trade.plane, result, pair))
        parts += [tag("h3", f"{pair[1]} against {pair[0]}"), *found] if found else []
    if not parts:
        return None
    told = "The marks that are not faint are those that the search kept: within the budget and the "
    return section(
        "What the search weighed",
        *parts,
        tag(
            "p",
            f"{told}constraints, and not beaten in {' and '.join(result.objectives)} together.",
            class_="soft",
        ),
    )


def _twice(draw: Callable[[int, int], Markup | None]) -> tuple[Markup, Markup] | None:
    wide, narrow = draw(1020, 440), draw(360, 400)
    if wide is None or narrow is None:
        return None
    return tag("div", wide, class_="wide"), tag("div", narrow, class_="narrow")


def sizes(result: Result) -> Markup | None:
    """The size of every candidate's files as bars."""
    shown = [c for c in words.by_latency(result.candidates) if c.size_bytes]
    if not shown:
        return None
    colours = points.series(result)
    largest = max(c.size_bytes or 0 for c in shown)
    items = [
        tag(
            "li",
            tag(
                "span",
                f"{c.label} on {c.runtime}",
                class_="name winner" if words.is_same(c, result.winner) else "name",
            ),
            tag(
                "span",
                tag(
                    "span",
                    class_=f"bar b{colours[c.runtime]}",
                    style=f"width:{100 * (c.size_bytes or 0) / largest:.1f}%",
                ),
                class_="track",
            ),
            tag("span", words.size(c.size_bytes), class_="num"),
        )
        for c in shown
    ]
    rest = items[MANY:]
    return section(
        "Size on disk",
        tag("ul", *items[:MANY], class_="bars"),
        tag(
            "details",
            tag("summary", f"{len(rest)} slower ones"),
            tag("ul", *rest, class_="bars"),
        )
        if rest
        else None,
    )


def calibration(result: Result) -> Markup | None:
    """What collecting the ranges cost, against plain inference over the same samples."""
    cost = result.calibration
    if cost is None:
        return None
    seconds, memory = cost.get("seconds"), cost.get("peak_rss_bytes")
    plain, plain_memory = cost.get("plain_seconds"), cost.get("plain_rss_bytes")
    return section(
        "Calibration cost",
        facts(
            {
                "Samples": str(cost.get("samples", words.NOTHING)),
                "Time": f"{words.duration(seconds)}; plain inference {words.duration(plain)}"
                f"{_ratio(seconds, plain)}",
                "Peak memory": f"{words.size(memory)}; plain inference {words.size(plain_memory)}"
                f"{_ratio(memory, plain_memory)}",
            }
        ),
    )


def method(result: Result) -> Markup:
    """How the numbers came about, where, and on which data."""
    return section(
        "How it was measured",
        tag(
            "p",
            "Float models and candidates of all runtimes ran in interleaved blocks, each as a "
            "plain load of its files in a process of its own, so that a machine that slows down "
            "slows all of them. A speed-up is against the baseline, the fastest float32 model of "
            "all runtimes: the median over the blocks of the ratio of their medians, with a 95 % "
            "bootstrap interval over the blocks. The noise floor is how far a model compared with "
            "itself strayed from 1.",
        ),
        tag(
            "p",
            "The data was split into three disjoint parts. Ranges come from the calibration split, "
            "candidates are chosen on the search split, and baseline and winner are scored once on "
            "the report split. A drop is how much worse than the float model a score is; its "
            "interval is paired, 95 %.",
        ),
        tag("h3", "Splits"),
        facts({k: f"{v} samples" for k, v in mapping(result.task.get("splits")).items()}),
        tag("h3", "Environment"),
        facts(result.environment),
        tag("h3", "Model"),
        facts(result.model),
        tag("h3", "Task"),
        facts({k: v for k, v in result.task.items() if k != "splits"}),
    )


def reproduce(result: Result) -> Markup | None:
    """The commands that make the same files again."""
    parts = []
    if result.command:
        parts = [tag("p", "The whole search:"), tag("pre", tag("code", result.command))]
    recipe = words.recipe_text(result)
    if recipe is not None:
        parts += [
            tag("p", "The winner alone (same files on the same machine, versions and threads):"),
            tag("pre", tag("code", words.rerun(result))),
            tag("details", tag("summary", "Recipe"), tag("pre", tag("code", recipe))),
        ]
    return section("Reproduce", *parts) if parts else None


def _size_change(result: Result) -> str:
    ours = result.winner.size_bytes if result.winner else None
    theirs = result.baseline.size_bytes if result.baseline else None
    if not ours or not theirs or words.is_float_win(result):
        return "on disk"
    return f"on disk, {words.times(theirs / ours)} smaller" if ours < theirs else "on disk"


def _speed_tile(result: Result, best: Candidate) -> str:
    if words.is_same(best, result.baseline):
        return "speed-up: it is the baseline"
    return f"speed-up, 95 %: {words.interval(best.speedup_interval)}"


def _speed_fact(best: Candidate) -> str:
    ends = words.interval(best.speedup_interval)
    parts = [f"{words.times(best.speedup)} the baseline's speed ({ends})"]
    if best.same_runtime_speedup is not None:
        same = words.times(best.same_runtime_speedup)
        parts.append(f"{same} float32 on {best.runtime}")
    if best.noise_floor is not None:
        parts.append(f"noise floor {words.percent(best.noise_floor)}")
    return "; ".join(parts)


def _search_fact(result: Result, best: Candidate) -> str:
    theirs = words.number(result.baseline.score if result.baseline else None)
    return f"{words.number(best.score)} vs {theirs} ({words.drop_words(result, best.drop)})"


def _report_fact(result: Result, best: Candidate) -> str:
    if not words.is_number(best.report_score):
        return "not scored"
    theirs = words.number(result.baseline.report_score if result.baseline else None)
    drop = words.drop_words(result, best.report_drop)
    ends = words.drop_interval(result)
    return (
        f"{words.number(best.report_score)} vs {theirs} ({drop}; paired 95 % of the drop: {ends})"
    )


def _metric_facts(best: Candidate, score: str) -> dict[str, str]:
    others = {k: v for k, v in best.metrics.items() if k != score}
    return (
        {"Other metrics": readable({k: words.number(v) for k, v in others.items()})}
        if others
        else {}
    )


def _ratio(value: float | None, plain: float | None) -> str:
    if not words.is_number(value) or not words.is_number(plain) or plain <= 0:
        return ""
    return f" ({words.times(value / plain)})"
