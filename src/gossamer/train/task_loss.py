"""The loss of a task on what a module gives."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.parallel import DistributedDataParallel

from gossamer.errors import TrainingError
from gossamer.train.batches import LABELS
from gossamer.train.outputs import logits_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gossamer.train.attachment import Batch


def batch_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The task's loss of `model` on a batch: cross-entropy of classes, squared error of numbers.

    Raises:
        TrainingError: There are no logits, or they are no `[batch, classes]` or `[batch, 1]` for
            the labels.
    """
    inputs = {name: x for name, x in batch.items() if name != LABELS or _takes_labels(model)}
    logits, labels = logits_of(model(**inputs), model), batch[LABELS]
    if labels.is_floating_point():
        if logits.numel() != labels.numel():
            raise _unlike(logits, labels)
        return mse_loss(logits.flatten().float(), labels.float())
    if logits.dim() != 2 or len(logits) != len(labels) or int(labels.max()) >= logits.shape[1]:
        raise _unlike(logits, labels)
    return cross_entropy(logits.float(), labels)


def _takes_labels(model: nn.Module) -> bool:
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return LABELS in inspect.signature(inner.forward).parameters


def _unlike(logits: Tensor, labels: Tensor) -> TrainingError:
    kind = "numbers" if labels.is_floating_point() else f"classes up to {int(labels.max())}"
    return TrainingError(
        f"outputs for {len(labels)} labels ({kind})",
        f"outputs of shape {list(logits.shape)}",
        "The head gives [batch, classes], or [batch, 1] for numbers: give data that it is for.",
    )
