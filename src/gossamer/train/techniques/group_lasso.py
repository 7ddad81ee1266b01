"""The technique `group-lasso`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Unpack

import torch

from gossamer.errors import RecipeError, TrainingError
from gossamer.train import stepping
from gossamer.train.attachment import Attachment, Known, Technique
from gossamer.train.prune.layers import Choosing, Layer
from gossamer.train.prune.pattern import Pattern
from gossamer.train.prune.patterns.block import Block

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

TINY = 1e-30  # what is divided by instead of 0


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupLasso(Technique):
    """Draws whole blocks of weights to zero while they train, those of little norm first.

    After every step W_b ← W_b · max(0, 1 - lr·λ·√|b| / ‖W_b‖), the proximal operator of
    λ Σ √|b| ‖W_b‖ (Yuan and Lin 2006; Wen et al. 2016, arXiv:1608.03665), lr being that of the
    weight's group in the optimizer. Beside `sparsify` it makes the blocks that will be pruned small
    before they are. It keeps nothing: there is nothing to save or to load.

    Attributes:
        strength: λ. With a learning rate that sinks to 0 in a straight line from r over n steps the
            root mean square of every block loses about λ·r·n/2 besides what training does.
        pattern: The blocks.
        layers: Paths of the modules, with the wildcards of fnmatch.
        exclude: Paths of modules to leave alone; null for the first Conv and the last layer.
    """

    strength: float = 1e-3
    pattern: Pattern = field(default_factory=Block)
    layers: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise RecipeError(
                "a strength of at least 0", f"{self.strength}", "0.001 is the default."
            )
        if self.pattern.share < 1:
            raise RecipeError(
                "a pattern whose blocks become zero as a whole",
                type(self.pattern).__name__,
                "Take block or channel.",
            )

    def attach(
        self, model: nn.Module, optimizer: Optimizer | None = None, **known: Unpack[Known]
    ) -> Attachment:
        """Shrink the blocks after each step of the optimizer, those of its weights.

        Raises:
            TrainingError: There is no optimizer, or no layer that has such blocks.
        """
        if optimizer is None:
            raise TrainingError("an optimizer, whose steps the blocks shrink after", "none")
        found, reasons = Choosing(layers=self.layers, exclude=self.exclude).among(model)
        layers = [layer for layer in found if not self._refusal(layer)]
        if not layers:
            told = [f"{layer.path}: {self._refusal(layer)}" for layer in found]
            raise TrainingError("a layer with such blocks", "; ".join(told) or str(reasons))
        real = stepping.real(optimizer)
        return _Shrinking(model, real, lambda: self._shrink(real, layers))

    def _refusal(self, layer: Layer) -> str:
        return self.pattern.refusal(*layer.matrix(layer.weight).shape)

    @torch.no_grad()
    def _shrink(self, optimizer: Optimizer, layers: list[Layer]) -> None:
        groups = stepping.trained(optimizer)
        for layer in layers:
            group = groups.get(layer.weight)
            if group is None:
                continue
            matrix = layer.matrix(layer.weight)
            # ‖W_b‖ / √|b|, also where the last blocks are smaller
            size = self.pattern.blocks(matrix.float().square()).sqrt_().clamp_min_(TINY)
            factor = (1 - group["lr"] * self.strength / size).clamp_min_(0)
            spread = self.pattern.spread(factor, *matrix.shape)
            layer.weight.mul_(layer.shaped(spread).to(layer.weight.dtype))


class _Shrinking(Attachment):
    def __init__(self, model: nn.Module, optimizer: Optimizer, shrink: Callable[[], None]) -> None:
        super().__init__(model)
        self._hooks.append(optimizer.register_step_post_hook(lambda *_: shrink()))
