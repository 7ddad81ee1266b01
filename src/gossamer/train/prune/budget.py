"""How many elements go, so that what is left costs no more than it may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from gossamer.errors import TrainingError
from gossamer.train.prune import choose
from gossamer.train.prune.choose import Ranked
from gossamer.train.prune.groups import Axis

TURNS = 6  # of halving


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What weights cost, and how much they may.

    Attributes:
        costs: By the paths of parameters; they go with the lengths of their axes.
        most: The sum that may be left.
    """

    costs: Mapping[str, int]
    most: float


def within(
    model: nn.Module,
    ranked: Sequence[Ranked],
    counts: Sequence[int],
    budgets: Sequence[Budget],
    *,
    uniform: bool,
) -> list[int]:
    """`counts`, and so many more channels and neurons that every budget is kept.

    Raises:
        TrainingError: They cannot be kept.
    """
    sizes = _sizes(model)
    more = [i for i, each in enumerate(ranked) if each.group.kind != "heads"]

    def whole(part: Sequence[int]) -> list[int]:
        found = list(counts)
        for i, n in zip(more, part, strict=True):
            found[i] = n
        return found

    def fits(part: Sequence[int]) -> bool:
        now = whole(part)
        return all(choose.left(b.costs, sizes, ranked, now) <= b.most for b in budgets)

    first = [counts[i] for i in more]
    return whole(choose.until([ranked[i] for i in more], first, fits, uniform=uniform))


def timed(
    counts: Sequence[int],
    limited: Callable[[float], list[int]],
    ratio: Callable[[Sequence[int]], float],
    most: float,
) -> list[int]:
    """The fewest found that are as fast as asked for: a share is halved in six turns.

    Args:
        counts: Go anyway.
        limited: What goes, that a share of the multiply-accumulates is left.
        ratio: Measures what is left without these, by the time of the model as it was.
        most: That it may be.

    Raises:
        TrainingError: Nothing that was tried is as fast.
    """
    fastest = ratio(counts)
    if fastest <= most:
        return list(counts)
    low, high, best = 0.0, 1.0, None
    for _ in range(TURNS):
        share = (low + high) / 2
        try:
            tried = limited(share)
        except TrainingError:
            low = share  # cannot be reached
            continue
        found = ratio(tried)
        fastest = min(fastest, found)
        if found <= most:
            low, best = share, tried
        else:
            high = share
    if best is None:
        raise TrainingError(
            f"a model that takes {most:.0%} of the time",
            f"{fastest:.0%} by removing channels and neurons",
            "Let layers or heads go too, ask for less, or for a smaller channel-multiple.",
        )
    return best


def _sizes(model: nn.Module) -> dict[Axis, int]:
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {(name, i): n for name, tensor in named.items() for i, n in enumerate(tensor.shape)}
