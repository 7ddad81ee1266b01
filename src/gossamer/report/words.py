"""Numbers and verdicts as people read them; the one place that turns a Result into sentences."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, TypeGuard

import yaml

from gossamer import plugins
from gossamer.report import document
from gossamer.report.markup import printable
from gossamer.target import PORTABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from gossamer.result import Candidate, Result
    from gossamer.target import TargetSpec

NOTHING = "\u2013"  # an en dash
TIMES = "\u00d7"


def milliseconds(value: float | None) -> str:
    """Milliseconds to three significant digits, without the unit."""
    if not is_number(value):
        return NOTHING
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, 4)}f}"


def number(value: float | None) -> str:
    """A score to four decimals, or to four significant digits when it is large."""
    if not is_number(value):
        return NOTHING
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.5g}"


def percent(fraction: float | None) -> str:
    """A fraction as percent."""
    if not is_number(fraction):
        return NOTHING
    value = round(100 * fraction, 2)
    # plain float formatting would write "-0.00" for tiny negative drops
    return f"{value if value else 0.0:.2f} %"


def times(value: float | None) -> str:
    """A speed-up factor."""
    return f"{value:.2f}{TIMES}" if is_number(value) else NOTHING


def decibels(value: float | None) -> str:
    """A ratio of powers to one decimal, without the unit."""
    return f"{value:.1f}" if is_number(value) else NOTHING


def size(count: float | None) -> str:
    """A number of bytes in decimal units."""
    if not is_number(count):
        return NOTHING
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return (
                f"{count / scale:.3g} {unit}"
                if count < 999.5 * scale
                else f"{count / scale:.0f} {unit}"
            )
    return f"{count:.0f} B"


def duration(seconds: float | None) -> str:
    """A time span: "0.42 s", "42 s", "3 min 12 s", "2 h 05 min"."""
    if not is_number(seconds):
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.0995 else f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    minutes = whole % 3600 // 60
    return f"{whole // 3600} h" + (f" {minutes:02d} min" if minutes else "")


def interval(ends: tuple[float, float] | None) -> str:
    """The two ends of an interval of factors."""
    return f"{ends[0]:.2f} to {ends[1]:.2f}" if _is_pair(ends) else NOTHING


def drop(candidate: Candidate) -> str:
    """How much worse than float on the search split: score units and relative."""
    relative = drop_percent(candidate)
    return drop_units(candidate) + (f" ({relative})" if relative else "")


def drop_units(candidate: Candidate) -> str:
    """The drop on the search split in score units."""
    if not is_number(candidate.drop):
        return NOTHING
    # plain formatting would write "-0.0000" for tiny gains
    return f"{candidate.drop if round(candidate.drop, 4) else 0.0:.4f}"


def drop_percent(candidate: Candidate) -> str:
    """The drop on the search split relative to the float score; empty if there is none."""
    return percent(candidate.relative_drop) if is_number(candidate.relative_drop) else ""


def median(candidate: Candidate | None) -> float | None:
    """The candidate's median latency in milliseconds, None if it was not measured."""
    value = (candidate.latency_ms or {}).get("median") if candidate else None
    return value if is_number(value) else None


def by_latency(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates, the fastest first; those without a latency come last, failures at the end."""
    return sorted(
        candidates,
        key=lambda c: (
            c.status != "ok",
            m if (m := median(c)) is not None else math.inf,
            c.label,
            c.id,
        ),
    )


def is_same(one: Candidate | None, other: Candidate | None) -> bool:
    """Whether two are the same candidate: recipe and target agree."""
    return (
        one is not None and other is not None and (one.id, one.target) == (other.id, other.target)
    )


def status(candidate: Candidate, winner: Candidate | None, baseline: Candidate | None) -> str:
    """What became of a candidate, with the reason where there is one."""
    if candidate.status != "ok":
        return ": ".join(p for p in (candidate.status, printable(candidate.reason, "")) if p)
    marks = []
    if is_same(candidate, winner):
        is_good = candidate.within_budget or candidate.is_float
        marks.append("winner" if is_good else "best effort, over budget")
    if is_same(candidate, baseline):
        marks.append("baseline")
    if not marks:
        marks.append("within budget" if candidate.within_budget else "over budget")
    if candidate.reason and not is_same(candidate, baseline):
        marks.append(printable(candidate.reason, ""))
    return ", ".join(marks)


def model_name(result: Result) -> str:
    """The shortest text by which people know the model."""
    for key in ("name", "origin", "path", "text", "kind"):
        text = str(result.model.get(key) or "").rstrip("/")
        if text:
            return printable(text.replace("\\", "/").rsplit("/", 1)[-1], "")
    return "model"


def metric(result: Result) -> str:
    """Name of the score."""
    return printable(str(result.task.get("metric") or "score"), "")


def is_synthetic(result: Result) -> bool:
    """Whether the score was taken on made-up inputs."""
    return bool(result.task.get("synthetic"))


def remarks(result: Result) -> list[str]:
    """What is to be known before scores are believed, in whole sentences."""
    found = result.task.get("remarks")
    return [printable(str(each), "") for each in found] if isinstance(found, list | tuple) else []


def is_float_win(result: Result) -> bool:
    """Whether the winner is the float model itself."""
    return result.winner is not None and (
        result.winner.is_float or is_same(result.winner, result.baseline)
    )


def headline(result: Result) -> str:
    """The verdict in one line."""
    winner = result.winner
    if winner is None:
        return "No model came out of this run"
    if is_float_win(result):
        return "Nothing faster than the float model was found within the budget"
    speed = speed_words(winner.speedup)
    if result.verdict == "met":
        return f"{speed} the best float model on this machine"
    return f"Budget not met: best effort, {speed} the best float model"


def speed_words(speedup: float | None) -> str:
    """A speed-up as the beginning of a comparison: "2.9x faster than", "as fast as"."""
    if not is_number(speedup) or speedup <= 0:
        return "not compared in speed with"
    if speedup >= 1.05:
        digits = 1 if speedup >= 1.95 else 2
        return f"{speedup:.{digits}f}{TIMES} faster than"
    if speedup > 0.95:
        return "as fast as"
    return f"{1 / speedup:.2f}{TIMES} slower than"


def verdict_score(result: Result) -> str:
    """The winner's score against the float model's, with drop and budget.

    The report split speaks where it was scored: the search never saw it.
    """
    winner, baseline = result.winner, result.baseline
    if winner is None or baseline is None:
        return ""
    held_out = is_number(winner.report_score) and is_number(baseline.report_score)
    ours = winner.report_score if held_out else winner.score
    theirs = baseline.report_score if held_out else baseline.score
    lost = winner.report_drop if held_out else winner.drop
    if not is_number(ours) or not is_number(theirs):
        return ""
    scores = f"{metric(result)} {number(ours)} vs {number(theirs)}"
    words = f"{scores} ({drop_words(result, lost)}, budget {budget(result)})"
    where = "on samples that the search never saw" if held_out else "on the search split"
    return f"{words} {where}"


def budget(result: Result) -> str:
    """The accuracy budget as the user wrote it."""
    return printable(result.max_drop, "")


def drop_words(result: Result, lost: float | None) -> str:
    """A drop in words: points for fractions, score units for everything else."""
    if not is_number(lost):
        return "drop unknown"
    if is_fraction(result):
        amount, unit = 100 * lost, " points"
        text = f"{abs(amount):.2f}"
    else:
        text, unit = f"{abs(lost):.4g}", ""
    if not float(text):
        return "no drop"
    return f"{'drop' if lost > 0 else 'gain'} {text}{unit}"


def drop_interval(result: Result) -> str:
    """The paired interval of the drop on the report split, in the unit of `drop_words`."""
    ends = result.winner.report_interval if result.winner else None
    if not _is_pair(ends):
        return NOTHING
    if is_fraction(result):
        return f"{100 * ends[0]:+.2f} to {100 * ends[1]:+.2f} points"
    return f"{ends[0]:+.4g} to {ends[1]:+.4g}"


def placement(gain: Mapping[str, Any]) -> str:
    """How much faster the winner is than int8 at every site that has an int8 kernel."""
    low, high = gain["speedup_interval"]
    return (
        f"Its placement is {gain['speedup']:.2f} times as fast as int8 everywhere "
        f"({low:.2f} to {high:.2f})"
    )


def is_fraction(result: Result) -> bool:
    """Whether scores read as fractions of one (accuracy), so that a drop has points."""
    score = result.baseline.score if result.baseline else None
    higher = bool(result.task.get("higher_is_better", True))
    return higher and is_number(score) and 0.0 <= score <= 1.0


def limit_score(result: Result) -> float | None:
    """The worst score within the budget: what the plot draws as a line."""
    score = result.baseline.score if result.baseline else None
    text = result.max_drop.replace(" ", "").lower()
    if not is_number(score):
        return None
    scales = (("%", abs(score) / 100), ("pt", 0.01), ("abs", 1.0))
    for suffix, scale in scales:
        if text.endswith(suffix):
            try:
                allowed = float(text.removesuffix(suffix)) * scale
            except ValueError:
                return None
            sign = -1 if result.task.get("higher_is_better", True) else 1
            return score + sign * allowed if math.isfinite(allowed) else None
    return None


def place(result: Result) -> str:
    """Where the measurement was taken: "AMD EPYC, 2 threads, batch 1, length 128"."""
    cpu = printable(str(result.environment.get("cpu") or "an unnamed CPU"), "")
    threads = result.environment.get("threads")
    told = "" if threads is None else f"{threads} thread{'' if threads == 1 else 's'}"
    return ", ".join(part for part in (cpu, told, point(result.batch, result.length)) if part)


def point(batch: int | None, length: int | None) -> str:
    """At which batch size and length models were timed: "batch 1, length 128"."""
    if batch is None:
        return ""
    return f"batch {batch}" + ("" if length is None else f", length {length}")


def cpu_words(candidate: Candidate) -> str:
    """On which CPUs the files give right answers, by the levels that the target knows."""
    target, level = _target(candidate), str(candidate.recipe.get("cpu") or PORTABLE)
    if target is None or level not in dict(target.cpus):  # from elsewhere, or another version
        return "every CPU" if level == PORTABLE else f"CPUs that have {printable(level, '')}"
    if target.device == "gpu":
        return "NVIDIA GPUs, next to any CPU"
    levels = target.safe_on(level)
    if len(levels) == len(target.cpus) - 1:
        return f"every CPU ({', '.join(levels)})"
    return f"CPUs that have {' or '.join(levels)}"


def unproven(candidate: Candidate) -> str:
    """What nobody has measured of the candidate's target; empty if it is proven."""
    target = _target(candidate)
    return target.unproven if target is not None else ""


def _target(candidate: Candidate) -> TargetSpec | None:
    """The candidate's target; None where the package that brought it is gone."""
    if candidate.target not in plugins.names("targets"):
        return None
    found: TargetSpec = plugins.load("targets", candidate.target)
    return found


def rerun(result: Result) -> str:
    """The command that makes the winner's files again from the recorded recipe."""
    return f"gossamer run {shlex.quote(printable(str(result.out / 'recipe.yaml'), ''))}"


def recipe_text(result: Result) -> str | None:
    """The winner's recipe as YAML."""
    if result.winner is None:
        return None
    return yaml.safe_dump(document.plain(result.winner.recipe), sort_keys=False, allow_unicode=True)


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def _is_pair(ends: tuple[float, float] | None) -> TypeGuard[tuple[float, float]]:
    return ends is not None and len(ends) == 2 and all(is_number(e) for e in ends)
