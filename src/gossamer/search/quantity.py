"""What was measured of a candidate, by the names that objectives and constraints use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer import plugins
from gossamer.errors import RecipeError

if TYPE_CHECKING:
    from gossamer.result import Candidate

SMALLER, LARGER = "minimize", "maximize"
# which way is better, and the units that bounds are written in
KNOWN: dict[str, tuple[str, dict[str, float]]] = {
    "latency": (SMALLER, {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3}),
    "throughput": (LARGER, {"": 1.0}),
    "size": (SMALLER, {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}),
    "peak-memory": (SMALLER, {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}),
    "drop": (SMALLER, {"": 1.0, "pt": 1e-2}),
}
NUMBER = r"[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What is to be small or large.

    Attributes:
        name: Of a quantity: latency (median, ms), throughput, size, peak-memory, drop, score, or a
            metric of the task.
        direction: `minimize` or `maximize`.
    """

    name: str
    direction: str

    @classmethod
    def parse(cls, text: str, *, higher_is_better: bool) -> Objective:
        """The objective that `latency`, `score` or `maximize f1` says.

        Raises:
            RecipeError: A metric without a direction, or another form.
        """
        words = text.split()
        if len(words) == 2 and words[0] in (SMALLER, LARGER):
            return cls(name=words[1].replace("_", "-"), direction=words[0])
        name = words[0].replace("_", "-") if len(words) == 1 else ""
        if name == "score":
            return cls(name=name, direction=LARGER if higher_is_better else SMALLER)
        if name not in KNOWN:
            raise RecipeError(
                f"an objective: score, {', '.join(KNOWN)}, or one like maximize f1",
                repr(text),
                "A metric of the task needs its direction.",
            )
        return cls(name=name, direction=KNOWN[name][0])

    def cost(self, candidate: Candidate) -> float:
        """What is to be small: the quantity, or its negative.

        Raises:
            RecipeError: The task has no such metric.
        """
        found = quantity(candidate, self.name)
        return found if self.direction == SMALLER else -found


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """What must hold of a candidate.

    Attributes:
        name: Of a quantity, as for objectives.
        is_most: Whether it may be `bound` at most, not at least.
        bound: In ms, samples per second, bytes or units of the score.
        text: As it was written.
    """

    name: str
    is_most: bool
    bound: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """The constraint that `size <= 5MB` or `f1 >= 0.8` says.

        Raises:
            RecipeError: Another form, or a unit of something else.
        """
        found = re.fullmatch(rf"\s*([\w-]+)\s*(<=|>=)\s*({NUMBER})\s*([A-Za-z]*)\s*", text)
        if not found:
            raise RecipeError(
                "a constraint like size <= 5MB or f1 >= 0.8",
                repr(text),
                "A quantity, <= or >=, and a bound.",
            )
        name = found[1].replace("_", "-")
        units = KNOWN[name][1] if name in KNOWN else {"": 1.0}
        if found[4] not in units:
            raise RecipeError(
                f"{name} in {' or '.join(u or 'no unit' for u in units)}",
                repr(text),
                "Write the unit right behind the number.",
            )
        bound = float(found[3]) * units[found[4]]
        return cls(name=name, is_most=found[2] == "<=", bound=bound, text=text.strip())

    def excess(self, candidate: Candidate) -> float:
        """By how much it is missed, as a share of the bound; 0 or less where it holds.

        Raises:
            RecipeError: The task has no such metric.
        """
        beyond = quantity(candidate, self.name) - self.bound
        return (beyond if self.is_most else -beyond) / (abs(self.bound) or 1.0)


def quantity(candidate: Candidate, name: str) -> float:
    """What was measured of a finished candidate.

    Raises:
        RecipeError: The task has no such metric.
    """
    measured = {
        "latency": (candidate.latency_ms or {}).get("median"),
        "throughput": candidate.throughput,
        "size": candidate.size_bytes,
        "peak-memory": candidate.peak_rss_bytes,
        "drop": candidate.drop,
        "score": candidate.score,
        **{key.replace("_", "-"): value for key, value in candidate.metrics.items()},
    }
    found = measured.get(name)
    if found is None:
        raise plugins.unknown("a quantity that was measured", name, tuple(measured))
    return float(found)


def front(candidates: Iterable[Candidate], objectives: Sequence[Objective]) -> list[Candidate]:
    """Those that no other one beats: at least as good in every objective, and better in one.

    In the order of the first objective. Of several with the same costs the first one counts.
    """
    costs = {c.id: tuple(o.cost(c) for o in objectives) for c in candidates}
    by_id = {c.id: c for c in candidates}
    found: list[str] = []
    for mine in sorted(costs, key=lambda i: costs[i]):
        if not any(
            all(a <= b for a, b in zip(costs[other], costs[mine], strict=True)) for other in found
        ):
            found.append(mine)
    return [by_id[i] for i in found]
