"""Statistics of batch normalizations, computed anew after channels are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recalibrate_(model: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> int:
    """How many batch normalizations now have the plain mean of these batches' statistics.

    Everything else stays in eval mode meanwhile. Without a batch, or a normalization that keeps
    statistics, nothing changes.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    batches = iter(batches)
    first = next(batches, None) if norms else None
    if first is None:
        return 0
    training = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's way to say: the mean of all batches
            norm.train()
        model(**first)
        for batch in batches:
            model(**batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in training.items():
            module.training = mode
    return len(norms)
