"""What criteria are told before the first step: gradients, and what the layers are given."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from gossamer.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.train.attachment import Batch
    from gossamer.train.prune.criterion import Criterion
    from gossamer.train.prune.layers import Layer


def of_inputs(
    criterion: Criterion, model: nn.Module, layers: Sequence[Layer], batches: Iterable[Batch]
) -> list[Tensor]:
    """What the criterion gathers of what the layers are given, the model in eval mode."""
    weights = [layer.matrix(layer.weight.detach()) for layer in layers]
    seen = [criterion.begin(weight) for weight in weights]
    look(model, layers, batches, lambda i, rows: criterion.gather(seen[i], weights[i], rows))
    return seen


def look(
    model: nn.Module,
    layers: Sequence[Layer],
    batches: Iterable[Batch],
    see: Callable[[int, Tensor], None],
) -> None:
    """Call `see` with the number of a layer and the rows it is given, without padding.

    The model is in eval mode meanwhile. Padding is what `attention_mask` says, where the layer's
    input has as many tokens.
    """
    mask: Tensor | None = None

    def hook(i: int) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        def given(module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            (x,) = (*args, *named.values())  # a Linear or Conv takes one tensor, by any name
            see(i, rows(module, _real(x, mask)))

        return given

    hooks = [
        layer.module.register_forward_pre_hook(hook(i), with_kwargs=True)
        for i, layer in enumerate(layers)
    ]
    try:
        with _evaluating(model), torch.no_grad():
            for batch in batches:
                mask = batch.get("attention_mask")
                model(**batch)
    finally:
        for each in hooks:
            each.remove()


def _real(given: Tensor, mask: Tensor | None) -> Tensor:
    """The tokens that are no padding, `[tokens, width]`, where they can be told."""
    if mask is None or mask.ndim != 2 or given.ndim != 3 or given.shape[:2] != mask.shape:
        return given
    return given[mask.bool()]


def of_gradients(
    criterion: Criterion,
    model: nn.Module,
    layers: Sequence[Layer],
    losses: Callable[[], Iterator[Tensor]],
) -> list[Tensor]:
    """What the criterion gathers of the gradients of some losses; `.grad` is not touched."""
    weights = [layer.weight for layer in layers]
    seen = [
        criterion.begin(layer.matrix(w.detach())) for layer, w in zip(layers, weights, strict=True)
    ]
    with _evaluating(model), torch.enable_grad():
        for loss in losses():
            found = torch.autograd.grad(loss, weights, allow_unused=True)
            for layer, own, gradient in zip(layers, seen, found, strict=True):
                if gradient is not None:
                    weight = layer.matrix(layer.weight.detach())
                    criterion.gather(own, weight, layer.matrix(gradient))
    return seen


def first(batches: Callable[[], Iterable[Batch]], count: int) -> Iterator[Batch]:
    """The first batches.

    Raises:
        TrainingError: There is none.
    """
    is_empty = True
    for batch in itertools.islice(batches(), count):
        is_empty = False
        yield batch
    if is_empty:
        raise TrainingError("batches to look at", "none", "batches() has to give some every time.")


def refusal(module: nn.Module) -> str:
    """Why what a layer is given cannot be seen as rows of a matrix; empty if it can."""
    if isinstance(module, nn.Conv3d):
        return "a Conv3d, whose inputs are not looked at"
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1:
        return f"its outputs read different inputs (groups={module.groups})"
    return ""


def rows(module: nn.Module, given: Tensor) -> Tensor:
    """What the matrix of a weight is multiplied with, `[rows, inputs]`."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d):
        return given.reshape(-1, given.shape[-1])
    width = len(module.kernel_size)
    given = given if given.ndim == width + 2 else given[None]
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = functional.pad(given, _padding(module), mode=mode)
    missing = (1,) * (2 - width)  # a Conv1d is a Conv2d of height 1
    patches = functional.unfold(
        padded.reshape(*padded.shape[:2], *missing, *padded.shape[2:]),
        (*missing, *module.kernel_size),
        dilation=(*missing, *module.dilation),
        stride=(*missing, *module.stride),
    )
    channels = given.shape[1]
    split = patches.reshape(len(given), channels, -1, patches.shape[-1])
    return split.permute(0, 3, 2, 1).reshape(-1, patches.shape[1])


def _padding(module: nn.Conv1d | nn.Conv2d) -> list[int]:
    """What `pad` adds, from the last axis to the first."""
    if module.padding == "valid":
        return [0, 0] * len(module.kernel_size)
    if module.padding == "same":
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    assert isinstance(module.padding, tuple)
    return [side for each in reversed(module.padding) for side in (each, each)]


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and back to what it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
