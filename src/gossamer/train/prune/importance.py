"""How much each element of a dependency group matters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gossamer.errors import TrainingError
from gossamer.train.attachment import Batch
from gossamer.train.prune.criterion import Criterion
from gossamer.train.prune.groups import Axis, Group
from gossamer.train.task_loss import batch_loss

Scores = NDArray[np.float64]  # of the elements of one group; what scores more stays longer


def scores(
    model: nn.Module,
    groups: Sequence[Group],
    criterion: Criterion,
    batches: Iterable[Batch],
) -> list[Scores]:
    """The scores of every group's elements; the model is only read.

    A criterion sees each element as one weight: the norm of all its weights (Li et al. 2017,
    arXiv:1608.08710), by the mean of the group, so that layers compare. Its gradient is that of the
    loss by a factor on what the group's readers are given of the element, over that norm. So with
    `snip` an element is worth |Σ W·G| (Molchanov et al. 2017, arXiv:1611.06440), and with `fisher`
    the sum of its squares over batches (Kwon et al. 2022, arXiv:2204.09656).

    Args:
        model: In eval mode.
        groups: Of the model.
        criterion: One that looks at weights or gradients.
        batches: Are only read where it looks at gradients.

    Raises:
        TrainingError: Gradients of the task's loss are needed, and there is no batch, or a weight
            is not trained.
    """
    norms = [_norms(model, group) for group in groups]
    seen = [criterion.begin(norm) for norm in norms]
    for slopes in _slopes(model, groups, batches) if criterion.needs == "gradients" else ():
        for own, norm, slope in zip(seen, norms, slopes, strict=True):
            criterion.gather(own, norm, torch.where(norm > 0, slope / norm, 0.0))
    return [
        criterion.scores(norm, own)[0].double().cpu().numpy()
        for norm, own in zip(norms, seen, strict=True)
    ]


@torch.no_grad()
def _norms(model: nn.Module, group: Group) -> Tensor:
    """Of the elements' weights, by their mean: `[1, elements]`, as if they were inputs."""
    named = dict(model.named_parameters())
    parts = [_of_elements(named[a[0]].square(), a, group) for a in group.members if a[0] in named]
    norms = torch.stack(parts).sum(dim=0).sqrt()
    return norms / norms.mean().clamp_min(torch.finfo(norms.dtype).tiny)


def _slopes(
    model: nn.Module, groups: Sequence[Group], batches: Iterable[Batch]
) -> Iterator[list[Tensor]]:
    """For each batch and group what the loss changes by with its elements, `[1, elements]`."""
    named = dict(model.named_parameters())
    read = {axis[0]: named[axis[0]] for group in groups for axis in group.readers}
    if groups and not all(weight.requires_grad for weight in read.values()):
        still = next(name for name, weight in read.items() if not weight.requires_grad)
        raise TrainingError(
            "weights that are trained, for scores from gradients",
            f"{still}, which is not",
            "Set requires_grad, or score by magnitude.",
        )
    is_empty = True
    for batch in batches if groups else ():
        is_empty = False
        with torch.enable_grad():
            made = torch.autograd.grad(
                batch_loss(model, batch), list(read.values()), materialize_grads=True
            )
        change = {
            name: weight.detach() * gradient
            for (name, weight), gradient in zip(read.items(), made, strict=True)
        }
        yield [_sum(change, group) for group in groups]
    if is_empty and groups:
        raise TrainingError(
            "batches, for scores from gradients",
            "none",
            "Give training data, or score by magnitude.",
        )


def _sum(change: Mapping[str, Tensor], group: Group) -> Tensor:
    parts = [_of_elements(change[axis[0]], axis, group) for axis in group.readers]
    return torch.stack(parts).sum(dim=0)


def _of_elements(numbers: Tensor, axis: Axis, group: Group) -> Tensor:
    """The sum of the numbers of each element along an axis of a weight, `[1, elements]`."""
    rows = numbers.detach().float().movedim(axis[1], 0)
    along = rows.reshape(len(rows), -1).sum(dim=1)
    indices = torch.from_numpy(group.members[axis]).to(along.device)
    return along[indices].sum(dim=1)[None]
