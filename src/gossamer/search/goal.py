"""Budgets as users write them: how much accuracy may be lost, and how much time spent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from gossamer.errors import RecipeError

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
ROUNDING = 1e-9  # two scores made of the same counts may differ in the last bits


@dataclass(frozen=True, kw_only=True, slots=True)
class MaxDrop:
    """How much worse than float a model may score.

    Attributes:
        kind: `%` of the float score, `pt` hundredths of a score that is a fraction, `abs` units.
        value: The number in front of the kind.
    """

    kind: Literal["%", "pt", "abs"]
    value: float

    @classmethod
    def parse(cls, text: str) -> MaxDrop:
        """The budget that `1%`, `0.5pt` or `0.3abs` says.

        Raises:
            RecipeError: Another form, or a negative number.
        """
        found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(%|pt|abs)\s*", text)
        if not found:
            raise RecipeError(
                "a drop like 1%, 0.5pt or 0.3abs",
                repr(text),
                "% is relative to the float score, pt is 0.01 of a fraction, abs is score units.",
            )
        kind = found[2]
        return cls(kind=kind, value=float(found[1]))  # type: ignore[arg-type]

    def allowed(self, float_score: float) -> float:
        """The largest drop within the budget, in score units."""
        if self.kind == "abs":
            return self.value
        return self.value / 100 * (abs(float_score) if self.kind == "%" else 1.0)

    def holds(self, drop: float, float_score: float) -> bool:
        """Whether a drop is within the budget."""
        return drop <= self.allowed(float_score) + ROUNDING * max(1.0, abs(float_score))


def parse_seconds(text: str) -> float:
    """Seconds in `90s`, `10m` or `2h`.

    Raises:
        RecipeError: Another form, or zero.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([smh])\s*", text)
    if not found or float(found[1]) == 0:
        raise RecipeError(
            "a time like 90s, 10m or 2h", repr(text), "A number and its unit: s, m or h."
        )
    return float(found[1]) * SECONDS[found[2]]
