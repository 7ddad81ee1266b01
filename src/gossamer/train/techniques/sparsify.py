"""The technique `sparsify`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Unpack

from gossamer.errors import RecipeError, TrainingError
from gossamer.train import stepping
from gossamer.train.attachment import Known, Technique, needed
from gossamer.train.prune import gather
from gossamer.train.prune.criteria.magnitude import Magnitude
from gossamer.train.prune.criterion import Criterion
from gossamer.train.prune.layers import Choosing, Layer
from gossamer.train.prune.masks import Masks, Rule, Timing
from gossamer.train.prune.pattern import Pattern
from gossamer.train.prune.patterns.unstructured import Unstructured
from gossamer.train.prune.schedule import Schedule
from gossamer.train.prune.schedules.cubic import Cubic

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

UPDATES = 32  # of the masks, where no interval is given


@dataclass(frozen=True, kw_only=True, slots=True)
class Sparsify(Technique):
    """Prunes weights while they train: masks hold them, their gradients and moments at zero.

    Of ⌊sparsity · N⌋ blocks exactly; of equal ones the first go first, and what was pruned stays
    pruned. A weight keeps its name in the state dict; its mask stands beside it as `weight_mask`.
    `gossamer.train.prune.masks.Masks` says what became of each layer.

    Attributes:
        sparsity: Share of the weights that are zero at the end; for N:M at most N / M.
        pattern: What becomes zero together.
        criterion: What is worth least.
        schedule: How the sparsity grows.
        scope: Whether the blocks of all layers compete, or each layer loses the same share; null
            for the first where the criterion can compare layers.
        layers: Paths of the modules to prune, with the wildcards of fnmatch.
        exclude: Paths of modules not to prune; null for the first Conv and the last layer, which
            are small, and whose loss no other layer can make up for.
        start: Where pruning starts, as a share of the training.
        end: Where the last weight goes; the rest of the training makes up for it.
        interval: Optimizer steps between updates of the masks; null makes about 32 updates.
        min_sparsity: Share of each layer that is pruned at least, if the scope is global.
        max_sparsity: Share of each layer that is pruned at most; no less than `sparsity` counts.
        looks: Batches that are looked at where a criterion needs data at once.
        lock: Whether to hold exactly those weights at zero that are zero already, and prune none:
            for what was pruned before, once, and is now tuned for a task.
    """

    sparsity: float = 0.5
    pattern: Pattern = field(default_factory=Unstructured)
    criterion: Criterion = field(default_factory=Magnitude)
    schedule: Schedule = field(default_factory=Cubic)
    scope: Literal["global", "local"] | None = None
    layers: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] | None = None
    start: float = 0.0
    end: float = 0.7
    interval: int | None = None
    min_sparsity: float = 0.0
    max_sparsity: float = 0.98
    looks: int = 32
    lock: bool = False

    def __post_init__(self) -> None:
        highest = self.pattern.share
        if not 0 <= self.sparsity <= highest or self.sparsity >= 1:
            most = f"at most {highest:g}" if highest < 1 else "less than 1"
            raise RecipeError(
                f"a sparsity of at least 0 and {most}",
                f"{self.sparsity}",
                "It is the share of zeros; another pattern allows others.",
            )
        if not 0 <= self.start <= self.end <= 1:
            raise RecipeError(
                "start and end with 0 <= start <= end <= 1",
                f"{self.start} and {self.end}",
                "They are shares of the training; 0.7 is the default of end.",
            )
        if not 0 <= self.min_sparsity <= self.sparsity or not self.max_sparsity <= 1:
            raise RecipeError(
                "0 <= min-sparsity <= sparsity, and max-sparsity <= 1",
                f"{self.min_sparsity}, {self.sparsity} and {self.max_sparsity}",
                "0 and 0.98 are the defaults.",
            )
        if min(self.interval or 1, self.looks) < 1 or self.interval == 0:
            raise RecipeError(
                "an interval and looks of at least 1",
                f"{self.interval} and {self.looks}",
                "Leave them out for their defaults.",
            )
        if self.scope == "global" and self.criterion.compares != "layers":
            raise RecipeError(
                f"scope local for a criterion that compares within each {self._compared}",
                "global",
                "Leave scope out, or take another criterion, such as magnitude.",
            )

    @property
    def needs(self) -> frozenset[str]:
        """The steps; and data, where the criterion looks at some before the first of them."""
        asked = {"inputs": {"batches"}, "gradients": {"batches", "batch_loss"}}
        return frozenset({"steps"} | asked.get(self.criterion.needs, set()))

    def attach(
        self, model: nn.Module, optimizer: Optimizer | None = None, **known: Unpack[Known]
    ) -> Masks:
        """Put masks on the layers; what is pruned at the start is pruned when this returns.

        Args:
            model: What to prune.
            optimizer: What trains it; None where everything is pruned here and now. Others can
                join by `Masks.follow`.
            known: `steps` unless everything is pruned at the start; `batches` for criteria that
                look at inputs, and with `batch_loss` for gradients before the first step.

        Raises:
            TrainingError: No layer can be pruned, or something is missing.
        """
        layers, reasons = self._able(model)
        timing = Timing(at={}, gathers_until=0) if self.lock else self._timing(known)
        later = any(done > 0 for done in timing.at)
        if optimizer is None and later:
            raise TrainingError(
                "an optimizer, whose steps the schedule counts",
                "none",
                "Give it, or prune at once: schedule one-shot, start 0.",
            )
        trains = None if optimizer is None else stepping.real(optimizer)
        look = self._look(model, layers, known, is_at_once=0 in timing.at)
        masks = Masks(model, layers, reasons, self._rule(), timing)
        try:
            if self.lock:
                masks.lock()
            if 0 in timing.at:
                masks.update(timing.at[0], look())
        except BaseException:
            masks.detach()
            raise
        masks.look_with(look if self.criterion.needs == "inputs" else None)
        if trains is not None:
            masks.follow(trains)
        return masks

    def _able(self, model: nn.Module) -> tuple[list[Layer], dict[str, str]]:
        layers, reasons = Choosing(layers=self.layers, exclude=self.exclude).among(model)
        for layer in layers if not self.lock else ():
            reason = self._refusal(layer)
            if reason:
                reasons[layer.path] = reason
        able = [layer for layer in layers if layer.path not in reasons]
        if not able:
            told = "; ".join(f"{path}: {reason}" for path, reason in reasons.items())
            raise TrainingError("a layer that can be pruned so", told)
        return able, reasons

    def _refusal(self, layer: Layer) -> str:
        if self.criterion.needs == "gradients" and not layer.weight.requires_grad:
            return "frozen: it has no gradient"
        is_seen = self.criterion.needs != "inputs"
        outputs, inputs = layer.matrix(layer.weight).shape
        found = "" if is_seen else gather.refusal(layer.module)
        return found or self.pattern.refusal(outputs, inputs)

    def _rule(self) -> Rule:
        can_compare = self.criterion.compares == "layers"
        share = self.pattern.share  # bounds of weights as bounds of blocks
        return Rule(
            pattern=self.pattern,
            criterion=self.criterion,
            is_global=self.scope != "local" and can_compare,
            least=self.min_sparsity / share,
            most=min(max(self.max_sparsity, self.sparsity) / share, 1),
        )

    def _timing(self, known: Known) -> Timing:
        """The sparsity after each step at which the masks change; 0 is before the first."""
        is_sudden = not self.schedule.is_gradual or self.start == self.end
        if is_sudden and self.start == 0:
            return Timing(at={0: self.sparsity}, gathers_until=0)
        whole = needed(self, known, "steps")
        first = round(self.start * whole)
        if is_sudden:
            return Timing(at={first: self.sparsity}, gathers_until=first)
        last = max(round(self.end * whole), first + 1)
        interval = self.interval or max((last - first) // UPDATES, 1)
        at = {
            done: self.schedule.sparsity((done - first) / (last - first), 0, self.sparsity)
            for done in (*range(first + interval, last, interval), last)
        }
        return Timing(at=at, gathers_until=last)

    def _look(
        self, model: nn.Module, layers: Sequence[Layer], known: Known, *, is_at_once: bool
    ) -> Callable[[], Sequence[Tensor]]:
        """How the criterion comes to what it needs, at a moment."""
        if self.lock or self.criterion.needs == "weights":
            return lambda: [layer.weight for layer in layers]
        if self.criterion.needs == "gradients" and not is_at_once:
            return list
        batches = needed(self, known, "batches")
        if self.criterion.needs == "inputs":
            return lambda: gather.of_inputs(
                self.criterion, model, layers, gather.first(batches, self.looks)
            )
        batch_loss = needed(self, known, "batch_loss")

        def losses() -> Iterator[Tensor]:
            for batch in gather.first(batches, self.looks):
                yield batch_loss(model, batch)

        return lambda: gather.of_gradients(self.criterion, model, layers, losses)

    @property
    def _compared(self) -> str:
        return "output" if self.criterion.compares == "outputs" else "layer"
