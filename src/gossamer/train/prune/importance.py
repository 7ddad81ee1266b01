"""How much each element of a dependency group matters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gossamer.errors import TrainingError
from gossamer.train.attachment import Batch
from gossamer.train.prune.groups import Group
from gossamer.train.task_loss import batch_loss

Scores = NDArray[np.float64]  # of the elements of one group; what scores more stays longer


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """A score made of numbers that single weights give.

    Attributes:
        each: The numbers of a weight and its gradient, in the weight's shape.
        total: The score of elements, given the sums of the numbers of their weights.
        needs_gradients: Whether it is a sum over batches; otherwise gradients are zeros.
    """

    each: Callable[[Tensor, Tensor], Tensor]
    total: Callable[[Scores], Scores]
    needs_gradients: bool


IMPORTANCE = {
    # Li et al. 2017, https://arxiv.org/abs/1608.08710, with the second norm over the whole group;
    # norms of different layers compare only by the mean of each
    "magnitude": Importance(
        each=lambda w, _: w.square(),
        total=lambda sums: np.sqrt(sums) / (np.sqrt(sums).mean() or 1.0),
        needs_gradients=False,
    ),
    # Molchanov et al. 2017, https://arxiv.org/abs/1611.06440: |sum of W·G|, added over batches
    "taylor": Importance(each=lambda w, g: w * g, total=np.abs, needs_gradients=True),
}


def scores(
    model: nn.Module,
    groups: Sequence[Group],
    importance: Importance,
    batches: Iterable[Batch],
) -> list[Scores]:
    """The scores of every group's elements; the model is only read.

    Raises:
        TrainingError: Gradients of the task's loss are needed, and there is no batch or no weight
            that is trained.
    """
    if not importance.needs_gradients:
        zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        return [_score(model, group, importance, zeros) for group in groups]
    found: list[Scores] = []
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for batch in batches if trained else ():
        with torch.enable_grad():
            loss = batch_loss(model, batch)
            made = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        gradients = {n: g for n, g in zip(trained, made, strict=True) if g is not None}
        new = [_score(model, group, importance, gradients) for group in groups]
        found = [a + b for a, b in zip(found, new, strict=True)] if found else new
    if not found and groups:
        raise TrainingError(
            "batches and trained weights for scores from gradients",
            "none",
            "Give training data, or score by magnitude.",
        )
    return found


@torch.no_grad()
def _score(
    model: nn.Module, group: Group, importance: Importance, gradients: Mapping[str, Tensor]
) -> Scores:
    named, total = dict(model.named_parameters()), np.zeros(len(group))
    for (name, axis), indices in group.members.items():
        if name in gradients:
            numbers = importance.each(named[name].double(), gradients[name].double())
            rest = [i for i in range(numbers.ndim) if i != axis]
            along = numbers.sum(rest) if rest else numbers
            total += along.cpu().numpy()[indices].sum(axis=1)
    return importance.total(total)
