"""Masks at work: what holds pruned weights at zero while they train, and chooses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gossamer.errors import TrainingError
from gossamer.train import stepping
from gossamer.train.attachment import Attachment
from gossamer.train.prune import quota
from gossamer.train.prune.criterion import INFINITE, PART, Choice, Criterion
from gossamer.train.prune.layers import Layer

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from gossamer.train.prune.pattern import Pattern

MASK = "weight_mask"  # true where a weight stays
SEEN = "weight_seen"  # what the criterion gathered, while it does
DONE = "sparsify_steps"  # optimizer steps that were made


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What became of one layer.

    Attributes:
        path: Of its module.
        pattern: As recipes write it; empty where the layer is not pruned.
        weights: How many it has.
        zeros: How many are held at zero.
        blocks: How many blocks of the pattern it has.
        quota: How many of them are pruned.
        reason: Why it is not pruned; empty where it is.
    """

    path: str
    pattern: str = ""
    weights: int = 0
    zeros: int = 0
    blocks: int = 0
    quota: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How blocks are chosen.

    Attributes:
        pattern: The blocks.
        criterion: What they are worth.
        is_global: Whether the blocks of all layers are compared.
        least: Share of each layer's blocks that is pruned at least, where that is so.
        most: At most.
    """

    pattern: Pattern
    criterion: Criterion
    is_global: bool
    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When masks are updated.

    Attributes:
        at: The sparsity to reach after a number of steps, for each update.
        gathers_until: The step after which gradients are of no more use.
    """

    at: Mapping[int, float]
    gathers_until: int


class Masks(Attachment):
    """Masks on the weights of some layers, in their buffers `weight_mask` (true: stays)."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        reasons: Mapping[str, str],
        rule: Rule,
        timing: Timing,
    ) -> None:
        super().__init__(model)
        self._layers = layers
        self._reasons = reasons
        self._rule = rule
        self._timing = timing
        self._optimizers: list[Optimizer] = []
        self._look: Callable[[], Sequence[Tensor]] | None = None
        self._counter = DONE
        for layer in layers:
            if hasattr(layer.module, MASK):
                raise TrainingError(
                    "layers without masks",
                    f"{layer.path} with a {MASK}",
                    "Detach what prunes it, or exclude it.",
                )
        while hasattr(model, self._counter):
            self._counter += "_"
        if timing.at:
            model.register_buffer(self._counter, torch.zeros((), dtype=torch.int64))
        for layer in layers:
            weight = layer.weight
            layer.module.register_buffer(MASK, torch.ones_like(weight, dtype=torch.bool))
            if rule.criterion.needs == "gradients" and timing.gathers_until > 0:
                seen = rule.criterion.begin(layer.matrix(weight.detach()))
                layer.module.register_buffer(SEEN, seen)
        on_load = model.register_load_state_dict_pre_hook  # untyped in torch
        self._hooks.append(on_load(self._forget_what_is_not_there))  # type: ignore[no-untyped-call]

    def follow(self, optimizer: Optimizer) -> None:
        """Hold the weights of one more optimizer; steps are those of the first."""
        found, is_first = stepping.real(optimizer), not self._optimizers
        self._optimizers.append(found)

        def after(*_: object) -> None:
            with torch.no_grad():
                self._hold([found])
                if is_first:
                    self._count()

        self._hooks.append(stepping.before_steps(found, lambda: self._before_step(found)))
        self._hooks.append(found.register_step_post_hook(after))

    def look_with(self, look: Callable[[], Sequence[Tensor]] | None) -> None:
        """How to gather what every update needs anew; None for what hooks gather."""
        self._look = look

    @torch.no_grad()
    def update(self, sparsity: float, seen: Sequence[Tensor]) -> None:
        """Prune on, to a sparsity; what was pruned stays so."""
        rule, share = self._rule, sparsity / self._rule.pattern.share
        if rule.is_global:
            scores = [self._scores(*each) for each in zip(self._layers, seen, strict=True)]
            blocks = [rule.pattern.blocks(score) for score in scores]
            chosen = quota.lowest_of_layers(blocks, share, rule.least, rule.most)
            for layer, own, score in zip(self._layers, chosen, scores, strict=True):
                self._hide(layer, rule.pattern.hidden(own, score))
        else:
            for layer, own in zip(self._layers, seen, strict=True):
                self._prune(layer, own, share)
        self._hold(self._optimizers)

    @torch.no_grad()
    def lock(self) -> None:
        """Hold every weight at zero that is zero now, and no other."""
        for layer in self._layers:
            _mask(layer).copy_(layer.weight != 0)

    def sparsity(self) -> float:
        """The share of the masked layers' weights that are held at zero."""
        masks = [_mask(layer) for layer in self._layers]
        return 1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)

    def report(self) -> tuple[LayerReport, ...]:
        """What became of every layer of the model, those that are not pruned included."""
        return tuple(self._reports())

    def detach(self) -> None:
        """Leave zeros in plain weights, and no buffers."""
        super().detach()
        for layer in self._layers:
            for name in (MASK, SEEN):
                if hasattr(layer.module, name):
                    delattr(layer.module, name)
        if hasattr(self.model, self._counter):
            delattr(self.model, self._counter)
        self._layers = ()

    def _reports(self) -> Iterator[LayerReport]:
        from gossamer import plugins

        ((name, fields),) = plugins.dump(self._rule.pattern).items()
        text = " ".join([name, *(f"{key}={value}" for key, value in fields.items())])
        for layer in self._layers:
            kept = layer.matrix(_mask(layer))
            blocks = self._rule.pattern.blocks(kept.float())  # 0: what it would lose is lost
            yield LayerReport(
                path=layer.path,
                pattern=text,
                weights=kept.numel(),
                zeros=int((~kept).sum()),
                blocks=blocks.numel(),
                quota=int((blocks == 0).sum()),
            )
        for path, reason in self._reasons.items():
            yield LayerReport(path=path, reason=reason)

    def _prune(self, layer: Layer, seen: Tensor, share: float) -> None:
        matrix, kept = layer.matrix(layer.weight).float(), layer.matrix(_mask(layer))
        _check(layer, matrix, seen)
        choice = self._choice(share, matrix.shape)
        weight, hidden = self._rule.criterion.prune(matrix, seen, kept, choice)
        if weight is not matrix:
            layer.weight.copy_(layer.shaped(weight))
        self._hide(layer, hidden)

    def _scores(self, layer: Layer, seen: Tensor) -> Tensor:
        _check(layer, layer.weight, seen)
        score = self._rule.criterion.scores(layer.matrix(layer.weight), seen)
        return score.masked_fill(~layer.matrix(_mask(layer)), -INFINITE)

    def _choice(self, share: float, shape: torch.Size) -> Choice:
        """The same share of every part, and of the whole exactly."""
        pattern, taken = self._rule.pattern, 0
        by_row = self._rule.criterion.compares == "outputs"

        def hidden(scores: Tensor, first: int) -> Tensor:
            nonlocal taken
            blocks = pattern.blocks(scores)
            columns = first // pattern.width if pattern.width else 0
            wanted = quota.quota(share, len(blocks) * (columns + blocks.shape[1])) - taken
            taken += wanted
            if by_row and blocks.shape[1] > 1:
                return pattern.hidden(quota.lowest_of_rows(blocks, wanted), scores)
            return pattern.hidden(quota.lowest(blocks, wanted), scores)

        together = pattern.width
        if pattern.share == 1 and together:  # what is worth least of many inputs can go first
            together = max(PART - PART % together, together)
        return Choice(together=min(together, shape[1]), hidden=hidden)

    def _hide(self, layer: Layer, hidden: Tensor) -> None:
        _mask(layer).logical_and_(layer.shaped(~hidden))

    def _hold(self, optimizers: Sequence[Optimizer]) -> None:
        """Zero what the masks hide, in weights and in what the optimizers keep of them."""
        owned = [(o, stepping.trained(o)) for o in optimizers]
        for layer in self._layers:
            weight, mask = layer.weight, _factor(layer)
            weight.mul_(mask)
            for optimizer, own in owned:
                if weight in own:
                    for moment in stepping.moments(optimizer, weight):
                        moment.mul_(mask)

    def _before_step(self, optimizer: Optimizer) -> None:
        own = stepping.trained(optimizer)
        for layer in self._layers:
            weight = layer.weight
            if weight.grad is None or weight not in own:
                continue
            seen = getattr(layer.module, SEEN, None)
            if seen is not None:
                self._rule.criterion.gather(seen, layer.matrix(weight), layer.matrix(weight.grad))
            weight.grad.mul_(_factor(layer))

    def _count(self) -> None:
        if not self._timing.at:
            return
        counter: Any = getattr(self.model, self._counter)
        counter += 1
        done = int(counter)
        if done in self._timing.at:
            self.update(self._timing.at[done], self._gathered())
        if done >= self._timing.gathers_until:
            self._forget()

    def _gathered(self) -> Sequence[Tensor]:
        if self._look is not None:
            return self._look()
        seen = [getattr(layer.module, SEEN, None) for layer in self._layers]
        found = [
            layer.weight if s is None else s for s, layer in zip(seen, self._layers, strict=True)
        ]
        copies = [s.clone() for s in found] if self._rule.criterion.is_forgetful else found
        for own in seen:
            if own is not None and self._rule.criterion.is_forgetful:
                own.zero_()
        return copies

    def _forget(self) -> None:
        for layer in self._layers:
            if hasattr(layer.module, SEEN):
                delattr(layer.module, SEEN)

    def _forget_what_is_not_there(
        self, _: nn.Module, state: Mapping[str, object], prefix: str, *__: object
    ) -> None:
        """A training that has stopped gathering goes on without it."""
        if not any(key.startswith(prefix) and key.rsplit(".", 1)[-1] == SEEN for key in state):
            self._forget()


def _check(layer: Layer, *numbers: Tensor) -> None:
    if not all(torch.isfinite(each).all() for each in numbers):
        raise TrainingError(
            "weights and gradients that are finite numbers",
            f"others in {layer.path}",
            "The training went wrong before; try a smaller learning rate.",
        )


def _mask(layer: Layer) -> Tensor:
    found: Tensor = getattr(layer.module, MASK)
    return found


def _factor(layer: Layer) -> Tensor:
    """The mask as 0 and 1: torch multiplies by bytes in a quarter of the time it takes bools."""
    return _mask(layer).view(torch.uint8)
