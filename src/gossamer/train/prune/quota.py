"""How many blocks of which layers are pruned, to the block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gossamer.train.prune.criterion import INFINITE

if TYPE_CHECKING:
    from torch import Tensor


def quota(share: float, blocks: int) -> int:
    """⌊share · blocks⌋, where 0.29 of 100 is 29 although the product of the floats is less."""
    return min(math.floor(share * blocks + 1e-6), blocks)


def lowest(scores: Tensor, count: int) -> Tensor:
    """Where the `count` least scores are, exactly; of equal ones the first."""
    flat = scores.flatten()
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    limit = flat.kthvalue(min(count, len(flat))).values
    chosen = flat < limit
    ties = (flat == limit).nonzero().flatten()
    chosen[ties[: count - int(chosen.sum())]] = True
    return chosen.reshape(scores.shape)


def lowest_of_rows(scores: Tensor, count: int) -> Tensor:
    """The least scores of each row; `count` in all, the first rows have one more than the last."""
    each, rest = divmod(count, len(scores))
    rank = scores.argsort(dim=1, stable=True).argsort(dim=1)
    counts = torch.full((len(scores), 1), each, device=scores.device)
    counts[:rest] += 1
    return rank < counts


def lowest_of_layers(
    scores: Sequence[Tensor], share: float, least: float, most: float
) -> list[Tensor]:
    """The least scores of all layers together: ⌊share · N⌋ of them, within bounds for each layer.

    A layer of n blocks gives between ⌊least · n⌋ and ⌊most · n⌋ (⌈most · n⌉, where the whole could
    not be reached otherwise). Until `share` has reached `least`, that takes its place. The bounds
    are water levels: a layer's worst up to the lower one go first, its best above the upper one
    never, and the rest competes by score.

    Args:
        scores: Of each layer; -inf where a block is pruned already.
        share: Of all blocks.
        least: Of each layer's blocks.
        most: Of each layer's blocks, at least `share`.
    """
    sizes = [score.numel() for score in scores]
    wanted = quota(share, sum(sizes))
    upper = [quota(most, size) for size in sizes]
    if sum(upper) < wanted:
        upper = [min(math.ceil(most * size - 1e-6), size) for size in sizes]
    pruned = [int((score == -INFINITE).sum()) for score in scores]
    lower = [max(quota(min(least, share), n), p) for n, p in zip(sizes, pruned, strict=True)]
    too_many = sum(lower) - wanted  # what was pruned before rounding went another way stays
    for i, already in enumerate(pruned):
        less = max(min(too_many, lower[i] - already), 0)
        lower[i], too_many = lower[i] - less, too_many - less
    levels = [
        score.masked_fill(~lowest(score, max(high, low)), INFINITE).masked_fill(
            lowest(score, low), -INFINITE
        )
        for score, low, high in zip(scores, lower, upper, strict=True)
    ]
    chosen = lowest(torch.cat([level.flatten() for level in levels]), wanted)
    parts = torch.split(chosen, sizes)
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]
