"""The module step `shrink`."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from gossamer.errors import RecipeError, TrainingError
from gossamer.step import ModuleContext, ModuleStep
from gossamer.train.batches import LABELS
from gossamer.train.prune import choose, importance, recalibrate, surgery
from gossamer.train.prune.groups import Axis, Coupled, Group, coupled

SAMPLES = 4  # of the example that the model is watched on
BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrink(ModuleStep):
    """Removes channels, neurons, heads and layers: what stays is an ordinary, smaller model.

    What belongs together is found by watching one forward pass; the result is compared with the
    model in which the same numbers are 0, and batch normalizations get new statistics. Retrain
    afterwards.

    Attributes:
        ffn: Share of the neurons between two layers of each encoder layer that goes.
        heads: Share of the attention heads of each layer that goes.
        channels: Share of the channels of convolutions that goes.
        residual: Whether channels along which branches are added may go too; each costs much more
            accuracy than one inside of a branch.
        layers: Numbers of the encoder layers that stay; empty for all.
        max_macs: Share of the multiply-accumulates of weights that may be left; more channels and
            neurons go until it is met.
        uniform: Whether every layer loses the same share, which ordinary configs can hold;
            otherwise all elements of a kind are ranked together.
        criterion: What says which elements matter: magnitude is the second norm of all weights that
            would go, taylor the first-order change of the loss.
        channel_multiple: Widths stay multiples of this, and never get below it; heads go one by
            one.
        batches: Batches of 32 training samples that taylor and the new statistics come from.
    """

    ffn: float = 0.0
    heads: float = 0.0
    channels: float = 0.0
    residual: bool = False
    layers: tuple[int, ...] = ()
    max_macs: float | None = None
    uniform: bool = True
    criterion: Literal["magnitude", "taylor"] = "magnitude"
    channel_multiple: int = 8
    batches: int = 64

    def __post_init__(self) -> None:
        for name in ("ffn", "heads", "channels"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"{name} from 0 to below 1", f"{getattr(self, name)}")
        if self.max_macs is not None and not 0 < self.max_macs <= 1:
            raise RecipeError("max-macs above 0 and up to 1", f"{self.max_macs}")
        if self.channel_multiple < 1 or self.batches < 1:
            given = f"{self.channel_multiple} and {self.batches}"
            raise RecipeError("a channel-multiple and a number of batches from 1", given)

    def apply(self, model: nn.Module, context: ModuleContext) -> nn.Module:
        """The smaller model, in eval mode.

        Raises:
            TrainingError: There is no training data, the model has nothing of what should go, or
                it would not compute the same as the one with zeros.
        """
        inputs = example(model, next(_batches(context, 1), None))
        model.eval()
        if self.layers:
            surgery.keep_layers_(model, self.layers)
        found = coupled(model, inputs)
        ranked = self._ranked(model, found, context)
        counts = self._counts(model, found, ranked)
        chosen = [(r.group, r.order[:n]) for r, n in zip(ranked, counts, strict=True) if n]
        slim = copy.deepcopy(model)
        for group, gone in chosen:
            if group.kind == "heads":
                surgery.tell_heads(slim, group, len(gone))
            width = next(iter(group.members.values())).shape[1]
            if _is_ffn(model, group):
                surgery.tell_config(slim, group, (len(group) - len(gone)) * width)
        removed = surgery.removal(chosen)
        surgery.cut_(slim, removed)
        surgery.zero_(model, removed)
        surgery.check_same(model, slim, inputs)
        if chosen:
            inputs_of = (forward_inputs(slim, b) for b in _batches(context, self.batches))
            recalibrate.recalibrate_(slim, inputs_of)
        return slim.eval()

    def _ranked(
        self, model: nn.Module, found: Coupled, context: ModuleContext
    ) -> list[choose.Ranked]:
        kinds = {kind for kind in ("ffn", "heads", "channels") if getattr(self, kind)}
        if self.max_macs is not None:
            kinds |= {"ffn", "channels"}
        groups = [group for group in found.groups if self._part(model, group) in kinds]
        for kind in kinds:
            if getattr(self, kind) and not any(
                self._part(model, group) == kind for group in groups
            ):
                why = "; ".join(sorted(set(found.kept.values())))
                raise TrainingError(f"{kind} that can be removed", f"none: {why}")
        totals = importance.scores(
            model,
            groups,
            importance.IMPORTANCE[self.criterion],
            _batches(context, self.batches),
        )
        pairs = zip(groups, totals, strict=True)
        return [choose.rank(group, total, self.channel_multiple) for group, total in pairs]

    def _counts(
        self, model: nn.Module, found: Coupled, ranked: Sequence[choose.Ranked]
    ) -> list[int]:
        counts = [0] * len(ranked)
        pick = choose.alike if self.uniform else choose.overall
        for kind in ("ffn", "heads", "channels"):
            here = [i for i, r in enumerate(ranked) if self._part(model, r.group) == kind]
            share = getattr(self, kind)
            for i, n in zip(here, pick([ranked[i] for i in here], share), strict=True):
                counts[i] = n
        if self.max_macs is None:
            return counts
        sizes = _axis_sizes(model)
        most = self.max_macs * sum(found.macs.values())
        more = [i for i, r in enumerate(ranked) if r.group.kind != "heads"]

        def whole(part: Sequence[int]) -> list[int]:
            return [part[more.index(i)] if i in more else n for i, n in enumerate(counts)]

        def fits(part: Sequence[int]) -> bool:
            return choose.macs_left(found.macs, sizes, ranked, whole(part)) <= most

        first = [counts[i] for i in more]
        return whole(
            choose.until_macs([ranked[i] for i in more], first, fits, uniform=self.uniform)
        )

    def _part(self, model: nn.Module, group: Group) -> str | None:
        """The option that a group belongs to."""
        if group.kind == "neurons":
            return "ffn" if _is_ffn(model, group) else None
        is_left = group.kind == "channels" and group.is_shared and not self.residual
        return None if is_left else group.kind


def shrink_to_cost(
    step: Shrink,
    model: nn.Module,
    context: ModuleContext,
    cost: Callable[[nn.Module], float],
    most: float,
) -> nn.Module:
    """The largest model found whose measured cost is at most `most`.

    Shares of multiply-accumulates are halved in six turns, each of which shrinks a copy and
    measures it; `cost` may export the copy and time it.

    Raises:
        TrainingError: Not even the smallest one tried is as cheap.
    """
    low, high, best = 0.0, 1.0, None
    for _ in range(6):
        share = (low + high) / 2
        try:
            tried = dataclasses.replace(step, max_macs=share).apply(copy.deepcopy(model), context)
        except TrainingError:
            low = share  # cannot be reached
            continue
        if cost(tried) <= most:
            low, best = share, tried
        else:
            high = share
    if best is None:
        raise TrainingError(f"a model of a cost up to {most:g}", "none by removing channels")
    return best


def example(model: nn.Module, batch: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """A few samples of a batch, at least two, as `forward` takes them without labels.

    Raises:
        TrainingError: There is no batch.
    """
    if batch is None:
        raise TrainingError("training data", "none", "One batch is enough to see what is coupled.")
    few = {name: x[:SAMPLES] for name, x in forward_inputs(model, batch).items()}
    return {name: x.repeat(2, *[1] * (x.ndim - 1)) if len(x) < 2 else x for name, x in few.items()}


def forward_inputs(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a batch `forward` takes, labels left out."""
    parameters = inspect.signature(model.forward).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {
        name: x for name, x in batch.items() if name != LABELS and (takes_all or name in parameters)
    }


def _batches(context: ModuleContext, count: int) -> Iterator[Mapping[str, Tensor]]:
    """So many batches, from several rounds through the data if it is small."""
    given = context.training
    if not given:
        return iter(())
    size = min(BATCH, len(given))
    rounds = (given.batches(size, context.seed + turn) for turn in range(count))
    return itertools.islice(itertools.chain.from_iterable(rounds), count)


def _is_ffn(model: nn.Module, group: Group) -> bool:
    """Whether neurons lie in one layer of a stack, and one weight alone reads them."""
    if group.kind != "neurons" or len(group.readers) != 1:
        return False
    parts = [name.split(".") for name, _ in group.members]
    shared = [
        p[0] for p in itertools.takewhile(lambda p: len(set(p)) == 1, zip(*parts, strict=False))
    ]
    stacks = (model.get_submodule(".".join(shared[:i])) for i in range(len(shared)))
    return any(isinstance(module, nn.ModuleList) for module in stacks)


def _axis_sizes(model: nn.Module) -> dict[Axis, int]:
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {(name, i): n for name, tensor in named.items() for i, n in enumerate(tensor.shape)}
