"""Which elements go: the least important, in whole multiples, until enough are gone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import TrainingError
from gossamer.train.prune.groups import Axis, Group
from gossamer.train.prune.importance import Scores

STEPS = 256  # shares of a common removal that are tried


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """A group with its elements in the order in which they go.

    Attributes:
        group: The group.
        order: Its elements, the least important first; ties by their number.
        scores: Of the elements.
        step: Elements that go at once, so that widths stay multiples.
    """

    group: Group
    order: NDArray[np.int64]
    scores: Scores
    step: int

    def goes(self, share: float) -> int:
        """How many elements are about this share, so that a whole number of steps stays."""
        if share <= 0 or len(self.group) <= self.step:
            return 0
        stay = round(len(self.group) * (1 - share) / self.step) * self.step
        return len(self.group) - min(len(self.group), max(self.step, stay))


def rank(group: Group, scores: Scores, multiple: int) -> Ranked:
    """The group with its elements ranked; heads go one by one."""
    width = next(iter(group.members.values())).shape[1]
    step = 1 if group.kind == "heads" else multiple // math.gcd(multiple, width)
    return Ranked(group=group, order=np.argsort(scores, kind="stable"), scores=scores, step=step)


def alike(ranked: Sequence[Ranked], share: float) -> list[int]:
    """How many elements of each group go, when each loses the same share."""
    return [each.goes(share) for each in ranked]


def overall(ranked: Sequence[Ranked], share: float) -> list[int]:
    """How many elements of each group go, when all are ranked together."""
    goal = share * sum(len(each.group) for each in ranked)
    return _greedy(ranked, [0] * len(ranked), lambda counts: sum(counts) >= goal)


def until(
    ranked: Sequence[Ranked],
    counts: Sequence[int],
    fits: Callable[[Sequence[int]], bool],
    *,
    uniform: bool,
) -> list[int]:
    """The fewest further elements that have to go until what is left fits.

    Raises:
        TrainingError: It does not fit with one multiple left in each group either.
    """
    found = list(counts)
    if uniform:
        for i in range(STEPS + 1):
            more = alike(ranked, i / STEPS)
            found = [max(a, b) for a, b in zip(counts, more, strict=True)]
            if fits(found):
                break
    else:
        found = _greedy(ranked, counts, fits)
    if not fits(found):
        raise TrainingError(
            "a budget that can be reached",
            "one that is exceeded with a multiple of channels left in each layer",
            "Ask for less, or for a smaller channel-multiple.",
        )
    return found


def _greedy(
    ranked: Sequence[Ranked], counts: Sequence[int], enough: Callable[[Sequence[int]], bool]
) -> list[int]:
    """Let the step go whose elements matter least, again and again."""
    found = list(counts)
    while not enough(found):
        nexts = [(_next(each, n), i) for i, (each, n) in enumerate(zip(ranked, found, strict=True))]
        score, i = min(nexts, default=(math.inf, 0))
        if score == math.inf:
            break
        found[i] += _size(ranked[i], found[i])
    return found


def _size(ranked: Ranked, gone: int) -> int:
    """Elements of the next step: the first one makes the width a multiple, where it is none."""
    return (len(ranked.group) - gone) % ranked.step or ranked.step


def _next(ranked: Ranked, gone: int) -> float:
    """The mean score of the elements that would go next."""
    size = _size(ranked, gone)
    if len(ranked.group) - gone - size < ranked.step:
        return math.inf
    return float(ranked.scores[ranked.order[gone : gone + size]].mean())


def left(
    costs: Mapping[str, int],
    sizes: Mapping[Axis, int],
    ranked: Sequence[Ranked],
    counts: Sequence[int],
) -> float:
    """What weights cost after so many elements of the groups are gone; it goes with their sizes."""
    gone: dict[Axis, int] = {}
    for each, count in zip(ranked, counts, strict=True):
        for axis, indices in each.group.members.items():
            gone[axis] = gone.get(axis, 0) + count * indices.shape[1]
    found: dict[str, float] = dict(costs)
    for (name, i), count in gone.items():
        if name in found:
            found[name] *= 1 - count / sizes[name, i]
    return sum(found.values())
