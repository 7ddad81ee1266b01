"""Linear maps between hidden states of different widths, which train with the student.

They are plain parameters of the student, not modules: a `Sequential` would run a module, and
techniques that prune or quantize layers would take it for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional

from gossamer.errors import TrainingError
from gossamer.train.loss import Pairs

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "distillation_"  # of the adapters in the student's state dict


def made_for(pairs: Mapping[str, Pairs]) -> dict[str, nn.Parameter]:
    """A weight `[wanted width, student's width]` for each pair of other widths, by its name.

    Raises:
        TrainingError: A pair differs in its number of dimensions.
    """
    made = {}
    for loss, of_loss in pairs.items():
        for i, (student, wanted) in enumerate(of_loss):
            if student.dim() != wanted.dim() or student.dim() < 2:
                raise TrainingError(
                    "hidden states of as many dimensions in both models",
                    f"{list(student.shape)} and {list(wanted.shape)}",
                    "Name other layers.",
                )
            if _width(student) != _width(wanted):
                drawn = nn.Linear(_width(student), _width(wanted), bias=False).weight
                made[_name(loss, i)] = nn.Parameter(drawn.detach().to(student))
    return made


def adapted(weights: Mapping[str, Tensor], loss: str, pairs: Pairs) -> Pairs:
    """The pairs, the student's part behind its adapter, if it has one.

    Raises:
        TrainingError: A pair of other widths has none.
    """
    found = []
    for i, (student, wanted) in enumerate(pairs):
        weight = weights.get(_name(loss, i))
        if weight is not None:
            found.append((_through(student, weight), wanted))
        elif student.dim() == wanted.dim() and _width(student) != _width(wanted):
            raise TrainingError(
                "batches= for Distill.attach, to see how wide hidden states are",
                f"none, with {_width(student)} in the student and {_width(wanted)} to reach",
                "Give it: attach(model, optimizer, teacher=..., batches=...).",
            )
        else:
            found.append((student, wanted))
    return tuple(found)


def _name(loss: str, pair: int) -> str:
    return f"{PREFIX}{loss}_{pair}"


def _through(values: Tensor, weight: Tensor) -> Tensor:
    """The linear map of channels of images, or of the last dimension."""
    weight = weight.to(values.dtype)  # autocast may give halves
    if values.dim() == 4:
        return functional.conv2d(values, weight[..., None, None])
    return functional.linear(values, weight)


def _width(values: Tensor) -> int:
    """Channels of images, or the last dimension."""
    return values.shape[1 if values.dim() == 4 else -1]
