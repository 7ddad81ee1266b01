"""Recipes with open places: what a search may choose, written where the value would stand."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gossamer import plugins
from gossamer.errors import RecipeError

CHOICE, RANGE = "choice", "range"
MANY = 100_000  # points of a grid, more than any budget pays for


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of several values, which may have open places themselves.

    Attributes:
        labels: What each value is called, by its number; all differ.
        values: The values.
    """

    labels: tuple[str, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A number between two, both of which it may be.

    Attributes:
        low: The smallest.
        high: The largest.
        step: Distance of the numbers from `low` on; None for all between, whole ones where `low`
            and `high` are whole.
        log: Whether ratios count, not differences.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return all(isinstance(x, int) for x in (self.low, self.high, self.step or 1))

    def points(self) -> tuple[float, ...] | None:
        """All numbers of it; None if there is no end of them."""
        step = self.step or (1 if self.is_whole and not self.log else None)
        if step is None:
            return None
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return tuple(self.low + i * step for i in range(count))


Open = Choice | Range
Ask = Callable[[str, Open], Any]  # the label of a choice, or the number of a range


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Plain data in which some places are open.

    Attributes:
        data: What was written, with `Choice` and `Range` at the open places.
    """

    data: Any

    @classmethod
    def parse(cls, written: object) -> Space:
        """The space that YAML describes: `{choice: [a, b]}` or `{range: {low: 1, high: 9}}`.

        Raises:
            RecipeError: An open place that says nothing.
        """
        return cls(data=_parsed(written, "recipe"))

    @property
    def is_open(self) -> bool:
        """Whether any place is open."""
        return any(True for _ in self._open())

    def pick(self, ask: Ask) -> Any:
        """Plain data: `ask` decides every open place that is reached, by its name.

        A choice decides which open places inside of it are reached. Where it is `null` in a list,
        the item is left out.
        """
        return _picked(self.data, "", ask)

    def points(self) -> Iterator[dict[str, Any]]:
        """What every open place can be, in every combination: answers for `pick`, by name.

        Raises:
            RecipeError: A range has no step, or there are too many combinations.
        """
        found = _points(self.data, "")
        yield from itertools.islice(found, MANY)
        if next(found, None) is not None:
            raise RecipeError(f"at most {MANY} combinations", "more", "Use another strategy.")

    def _open(self) -> Iterator[Open]:
        waiting = [self.data]
        while waiting:
            each = waiting.pop()
            if isinstance(each, Choice | Range):
                yield each
            elif isinstance(each, dict):
                waiting += each.values()
            elif isinstance(each, list):
                waiting += each


def _parsed(written: Any, where: str) -> Any:
    if isinstance(written, list):
        return [_parsed(each, f"{where}[{i}]") for i, each in enumerate(written)]
    if not isinstance(written, dict):
        return written
    if set(written) == {CHOICE}:
        return _choice(written[CHOICE], where)
    if set(written) == {RANGE}:
        return _range(written[RANGE], where)
    return {key: _parsed(value, f"{where}.{key}") for key, value in written.items()}


def _choice(values: Any, where: str) -> Choice:
    if not isinstance(values, list) or not values:
        raise RecipeError(
            f"a list of values for the choice at {where}", repr(values), "Write choice: [a, b]."
        )
    names = [_name(value) for value in values]
    # two of one plug-in are called by all that is said of them
    labels = tuple(
        name if names.count(name) == 1 else json.dumps(value)
        for name, value in zip(names, values, strict=True)
    )
    if len(set(labels)) < len(labels):
        raise RecipeError(
            f"values that differ for the choice at {where}",
            repr(values),
            "Take out those that are there twice.",
        )
    parsed = tuple(
        _parsed(each, f"{where}.{label}") for label, each in zip(labels, values, strict=True)
    )
    return Choice(labels=labels, values=parsed)


def _name(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1:
        return str(next(iter(value)))  # a plug-in with options
    return value if isinstance(value, str) else json.dumps(value)


def _range(fields: Any, where: str) -> Range:
    known = ("low", "high", "step", "log")
    if not isinstance(fields, dict) or not {"low", "high"} <= set(fields) <= set(known):
        raise RecipeError(
            f"low and high, maybe step or log, for the range at {where}",
            repr(fields),
            "Write range: {low: 0, high: 1}.",
        )
    read = {k: _number(fields[k], f"{where}.{k}") for k in known[:3] if fields.get(k) is not None}
    found = Range(**read, log=bool(fields.get("log", False)))
    if not found.low < found.high or (found.step or 1) <= 0 or (found.log and found.low <= 0):
        raise RecipeError(
            f"low below high, a positive step, and a positive low with log at {where}",
            repr(fields),
            "Write range: {low: 0, high: 1}.",
        )
    if found.log and found.step is not None:
        raise RecipeError(f"step or log for the range at {where}", "both", "Take one of them out.")
    return found


def _number(raw: Any, where: str) -> float:
    if isinstance(raw, str) and plugins.NUMBER.fullmatch(raw):
        return float(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise RecipeError(
            f"a number for {where}", repr(raw), "Write 5.0e-5 for 5e-5, which YAML reads as a text."
        )
    return raw


def _picked(data: Any, name: str, ask: Ask) -> Any:
    if isinstance(data, Range):
        return ask(name, data)
    if isinstance(data, Choice):
        label = ask(name, data)
        return _picked(data.values[data.labels.index(label)], f"{name}={label}", ask)
    if isinstance(data, dict):
        return {key: _picked(value, _below(name, key), ask) for key, value in data.items()}
    if isinstance(data, list):
        each = [(item, _picked(item, f"{name}[{i}]", ask)) for i, item in enumerate(data)]
        return [got for item, got in each if got is not None or not isinstance(item, Choice)]
    return data


def _below(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _points(data: Any, name: str) -> Iterator[dict[str, Any]]:
    if isinstance(data, Range):
        numbers = data.points()
        if numbers is None:
            raise RecipeError(
                f"a step for the range {name}, for a grid",
                "none",
                "Add one, or take another strategy: random, tpe or nsga2.",
            )
        yield from ({name: number} for number in numbers)
    elif isinstance(data, Choice):
        for label, value in zip(data.labels, data.values, strict=True):
            for rest in _points(value, f"{name}={label}"):
                yield {name: label, **rest}
    elif isinstance(data, Mapping):
        yield from _product([(value, _below(name, key)) for key, value in data.items()])
    elif isinstance(data, list):
        yield from _product([(value, f"{name}[{i}]") for i, value in enumerate(data)])
    else:
        yield {}


def _product(parts: list[tuple[Any, str]]) -> Iterator[dict[str, Any]]:
    """Every combination of the points of several parts, the last one changing fastest."""
    if not parts:
        yield {}
        return
    for first in _points(*parts[0]):
        for rest in _product(parts[1:]):
            yield {**first, **rest}
