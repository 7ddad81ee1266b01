"""Which candidates no other one beats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.report import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gossamer.result import Candidate, Result

Identity = tuple[str, str]  # id and target: what tells candidates apart
SPEED = frozenset({"latency", "throughput"})


def of_latency_and_score(result: Result, shown: Iterable[Candidate]) -> list[Candidate]:
    """The front of speed and score, the fastest first; that of a search for just these two.

    Args:
        result: Knows the front, if a search looked for one.
        shown: The measured candidates, the fastest first.
    """
    names = {name_of(text) for text in result.objectives}
    about_score = {"score", "drop", _plain(words.metric(result))}
    if result.front and names & SPEED and names & about_score and not names - SPEED - about_score:
        return [c for c in shown if c.id in result.front]
    sign = 1.0 if result.task.get("higher_is_better", True) else -1.0
    found: list[Candidate] = []
    for candidate in shown:
        # sorted by latency: whoever comes later is slower, so it has to be better
        if not found or sign * (candidate.score or 0.0) > sign * (found[-1].score or 0.0):
            found.append(candidate)
    return found


def planes(result: Result) -> list[tuple[str, str]]:
    """Pairs of objectives of a search that the plot of latency and score does not show."""
    names = list(dict.fromkeys(name_of(text) for text in result.objectives))
    shown = {"latency", "throughput", "score", "drop", _plain(words.metric(result))}
    return [(names[0], other) for other in names[1:] if {names[0], other} - shown]


def name_of(objective: str) -> str:
    """What an objective like "latency" or "maximize f1" is about."""
    return _plain((objective.split() or [""])[-1])


def _plain(name: str) -> str:
    return name.replace("_", "-")


def identity(candidate: Candidate) -> Identity:
    """What tells a candidate from all others of its result."""
    return candidate.id, candidate.target
