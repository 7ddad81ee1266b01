"""What a search is to find: where it looks, how, and what counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.search.quantity import Constraint, Objective
from gossamer.search.space import Choice, Space
from gossamer.search.strategies.ladder import Ladder
from gossamer.search.strategy import Strategy

if TYPE_CHECKING:
    from gossamer.task import Task


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a search is to find.

    Attributes:
        strategy: How it looks.
        space: Recipes it looks among; None for those that the strategy knows.
        objectives: What is to be small or large, the first one first; empty for latency.
        constraints: What must hold beside the accuracy budget.
        told: The objectives as written, until the task is known (`of`).
    """

    strategy: Strategy
    space: Space | None = None
    objectives: tuple[Objective, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    told: tuple[str, ...] = ("latency",)

    @classmethod
    def parse(cls, plan: Mapping[str, Any]) -> Wanted:
        """What the part of a search file says that is not about models and data.

        Raises:
            RecipeError: Something in it cannot be understood.
        """
        if not plan:
            return cls(strategy=Ladder())
        told = _texts(plan.get("objectives", "latency"), "objectives")
        return cls(
            strategy=plugins.parse("strategies", plan.get("strategy", "tpe")),
            space=Space.parse(plan["recipe"]),
            constraints=tuple(
                Constraint.parse(each)
                for each in _texts(plan.get("constraints", []), "constraints")
            ),
            told=told,
        )

    def of(self, task: Task) -> Wanted:
        """The same, with the objectives of a task.

        Raises:
            RecipeError: An objective is none.
        """
        better = task.higher_is_better
        objectives = tuple(Objective.parse(text, higher_is_better=better) for text in self.told)
        return dataclasses.replace(self, objectives=objectives)


def targets(recipe: object) -> tuple[str, ...]:
    """The targets that a recipe with open places can be for.

    Raises:
        RecipeError: It names none.
    """
    space = Space.parse(recipe)
    found = space.data.get("target") if isinstance(space.data, dict) else None
    if isinstance(found, str):
        return (found,)
    if isinstance(found, Choice) and all(isinstance(value, str) for value in found.values):
        return found.labels
    raise RecipeError(
        "a recipe with a target, or a choice of some",
        repr(recipe)[:80],
        "Add target: ort-cpu to the recipe, say.",
    )


def _texts(written: object, where: str) -> tuple[str, ...]:
    found = [written] if isinstance(written, str) else written
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise RecipeError(
            f"a list of texts for {where}",
            repr(written),
            'Write each in a line of its own that begins with "- ".',
        )
    if where == "objectives" and not found:
        raise RecipeError(
            "at least one objective",
            "none",
            "Leave the key out, and latency is what shall be small.",
        )
    return tuple(found)
