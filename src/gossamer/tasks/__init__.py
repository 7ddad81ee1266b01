"""One file is one task; `choose` finds the one that a user and a model ask for."""

from __future__ import annotations

import dataclasses
import logging
import re
from typing import TYPE_CHECKING

from gossamer import plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.source import FloatModel
    from gossamer.task import Task

logger = logging.getLogger(__name__)


def choose(
    name: str | None,
    model: FloatModel,
    options: Mapping[str, object],
    *,
    has_data: bool = True,
) -> Task:
    """The task called `name`, with its options, ready for `model`.

    Without a name it is the task that the model's own configuration speaks of; `fidelity` if that
    says nothing, names a task that is not here, or there is no data with labels to judge by.

    Args:
        name: Public name of the task.
        model: What is to be judged.
        options: Fields of the task as the user typed them: lists may be text like `0.5,0.5,0.5`
            or `224x320`.
        has_data: Whether the user gave data.

    Raises:
        RecipeError: No such task or field; the message lists the real ones.
    """
    if name is None:
        name = model.task if model.task and has_data else "fidelity"
        if name.replace("_", "-") not in plugins.names("tasks"):
            logger.info("there is no task %s: the model is judged by fidelity", name)
            name = "fidelity"
    member = plugins.load("tasks", name)
    listed = {f.name for f in dataclasses.fields(member) if "tuple[" in str(f.type)}
    fields = {
        key: _listed(value) if key.replace("-", "_") in listed else value
        for key, value in options.items()
    }
    task: Task = plugins.parse("tasks", {name: fields})
    return task.resolved(model)


def _listed(value: object) -> object:
    """A list of numbers where the user typed one number or text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, str):
        return [_number(word) for word in re.split(r"[\s,x]+", value.strip().strip("[]()"))]
    return value


def _number(word: str) -> object:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
