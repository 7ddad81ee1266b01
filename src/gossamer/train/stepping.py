"""Optimizers as hooks find them: the real one, its closure, and which weights it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from gossamer.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.hooks import RemovableHandle


def real(optimizer: object) -> Optimizer:
    """The optimizer inside what loops wrap around it (`.optimizer` of accelerate and Lightning).

    Raises:
        TrainingError: It is none.
    """
    found = optimizer
    while (inner := getattr(found, "optimizer", None)) is not None:
        found = inner
    if not isinstance(found, Optimizer):
        raise TrainingError(
            "a torch optimizer",
            type(found).__name__,
            "Give it: attach(model, optimizer).",
        )
    return found


def before_steps(optimizer: Optimizer, run: Callable[[], None]) -> RemovableHandle:
    """Run something between every gradient and the step made of it.

    A step that is given a closure computes its gradients inside; then what is run joins the
    closure.
    """

    def hook(
        _: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            run()
            return None

        def joined() -> object:
            loss = closure()
            with torch.no_grad():
                run()
            return loss

        return args[:1], {**kwargs, "closure": joined}

    return optimizer.register_step_pre_hook(torch.no_grad()(hook))


def trained(optimizer: Optimizer) -> dict[Tensor, dict[str, Any]]:
    """The group of each parameter."""
    return {weight: group for group in optimizer.param_groups for weight in group["params"]}


def moments(optimizer: Optimizer, weight: Tensor) -> list[Tensor]:
    """What the optimizer keeps for every single weight."""
    state = optimizer.state.get(weight, {})
    return [v for v in state.values() if isinstance(v, torch.Tensor) and v.shape == weight.shape]
