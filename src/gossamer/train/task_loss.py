"""What a module gave, and the loss of a task on it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy, mse_loss

from gossamer.errors import TrainingError
from gossamer.train.batches import LABELS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gossamer.train.attachment import Batch


def batch_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The task's loss of `model` on a batch: cross-entropy of classes, squared error of numbers.

    Raises:
        TrainingError: The outputs are no `[batch, classes]` or `[batch, 1]` for the labels.
    """
    inputs = {name: x for name, x in batch.items() if name != LABELS or _takes_labels(model)}
    logits, labels = logits_of(model(**inputs)), batch[LABELS]
    if labels.is_floating_point():
        if logits.numel() != labels.numel():
            raise _unlike(logits, labels)
        return mse_loss(logits.flatten().float(), labels.float())
    if logits.dim() != 2 or len(logits) != len(labels) or int(labels.max()) >= logits.shape[1]:
        raise _unlike(logits, labels)
    return cross_entropy(logits.float(), labels)


def logits_of(output: Any) -> Tensor:
    """The logits among what a forward pass gave: the field of that name, else the first tensor.

    Raises:
        TrainingError: There is no tensor.
    """
    if isinstance(output, torch.Tensor):
        return output
    logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, Mapping):
        logits = output.get("logits", next(iter(output.values()), None))
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    if not isinstance(logits, torch.Tensor):
        raise TrainingError("a module that returns logits", f"{type(output).__name__}")
    return logits


def _takes_labels(model: nn.Module) -> bool:
    inner = getattr(model, "module", model)  # under the wrapper for several processes
    return LABELS in inspect.signature(inner.forward).parameters


def _unlike(logits: Tensor, labels: Tensor) -> TrainingError:
    kind = "numbers" if labels.is_floating_point() else f"classes up to {int(labels.max())}"
    return TrainingError(
        f"outputs for {len(labels)} labels ({kind})", f"outputs of shape {list(logits.shape)}"
    )
