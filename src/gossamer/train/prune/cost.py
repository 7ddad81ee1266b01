"""What one forward pass of a model costs, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a model is made of, and what it multiplies.

    Attributes:
        macs: Multiply-accumulates of convolutions and matrix products, those of attention between
            values included, for one sample of the example; sums, activations and normalizations
            are not counted.
        parameters: Numbers that are trained; shared ones once.
    """

    macs: int
    parameters: int


def cost(model: nn.Module, inputs: Mapping[str, Tensor]) -> Cost:
    """The cost of a model on an example, whose axis 0 is the samples; the model is only read."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    count = _Count()
    try:
        # fused attention is taken apart: torch knows no count for its kernel on CPUs
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), count:
            model(**inputs)
    finally:
        for module, mode in training.items():
            module.training = mode
    samples = len(next(iter(inputs.values())))
    return Cost(
        macs=count.flops // 2 // samples, parameters=sum(p.numel() for p in model.parameters())
    )


class _Count(TorchDispatchMode):  # type: ignore[no-untyped-call] # of torch
    """Adds what torch's own formulas say; its `FlopCounterMode` fails on scripted functions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """What the operator returns; its products are counted."""
        out = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out
