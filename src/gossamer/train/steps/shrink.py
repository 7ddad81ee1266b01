"""The module step `shrink`."""

from __future__ import annotations

import copy
import inspect
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from gossamer import plugins, store
from gossamer.errors import RecipeError, TrainingError
from gossamer.step import ModuleContext, ModuleStep
from gossamer.train import processes
from gossamer.train.batches import LABELS
from gossamer.train.prune import budget, choose, compensate, importance, recalibrate, surgery
from gossamer.train.prune.budget import Budget
from gossamer.train.prune.choose import Ranked
from gossamer.train.prune.criteria.magnitude import Magnitude
from gossamer.train.prune.criterion import Criterion
from gossamer.train.prune.groups import Coupled, Group, coupled

Chosen = list[tuple[Group, NDArray[np.int64]]]  # which elements of which group go
BUDGETS = ("max_macs", "max_parameters", "max_latency")
WIDTHS = "widths.json"
SAMPLES = 4  # of the example that the model is watched on
BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrink(ModuleStep):
    """Removes channels, neurons, heads and layers: what stays is an ordinary, smaller model.

    What belongs together is found by watching one forward pass. Weights that read what goes make up
    for it by least squares, batch normalizations get new statistics, and the result is compared
    with the model in which the same numbers are 0. Where much goes, retrain afterwards.

    Attributes:
        ffn: Share of the neurons between two layers of each encoder layer that goes.
        heads: Share of the attention heads of each layer that goes.
        channels: Share of the channels of convolutions that goes.
        residual: Whether channels along which branches are added may go too; each costs much more
            accuracy than one inside of a branch.
        layers: Numbers of the encoder layers that stay; empty for all.
        max_macs: Share of the multiply-accumulates of weights that may be left; more channels and
            neurons go until it is kept.
        max_parameters: Share of the parameters that may be left, likewise.
        max_latency: Share of the time at batch 1 that may be left, likewise: models are exported
            and timed on ONNX Runtime, in turns with the one that came.
        uniform: Whether every layer loses the same share, which ordinary configs can hold;
            otherwise all elements of a kind are ranked together.
        criterion: Which elements matter least. Each counts as one weight: the norm of its weights,
            with the gradient along it.
        channel_multiple: Widths stay multiples of this, and never get below it; heads go one by
            one.
        batches: Batches of 32 training samples: for gradients, what makes up, new statistics.
    """

    ffn: float = 0.0
    heads: float = 0.0
    channels: float = 0.0
    residual: bool = False
    layers: tuple[int, ...] = ()
    max_macs: float | None = None
    max_parameters: float | None = None
    max_latency: float | None = None
    uniform: bool = True
    criterion: Criterion = field(default_factory=Magnitude)
    channel_multiple: int = 8
    batches: int = 64

    def __post_init__(self) -> None:
        for name in ("ffn", "heads", "channels"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(
                    f"{name} from 0 to below 1",
                    f"{getattr(self, name)}",
                    "It is the share that goes: 0.25 takes out a quarter.",
                )
        for name in BUDGETS:
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise RecipeError(
                    f"{name.replace('_', '-')} above 0 and up to 1",
                    f"{share}",
                    "It is the share that may stay: 0.5 keeps half.",
                )
        if self.criterion.needs == "inputs":
            raise RecipeError(
                "a criterion that looks at weights or gradients",
                next(iter(plugins.dump(self.criterion))),
                "It compares single weights of one layer; shrink ranks whole channels and heads.",
            )
        if self.channel_multiple < 1 or self.batches < 1:
            given = f"{self.channel_multiple} and {self.batches}"
            raise RecipeError(
                "a channel-multiple and a number of batches from 1",
                given,
                "8 and 64 are the defaults.",
            )

    def apply(self, model: nn.Module, context: ModuleContext) -> nn.Module:
        """The smaller model, in eval mode.

        Raises:
            TrainingError: There is no training data, the model has nothing of what should go, a
                budget cannot be kept, or it would not compute the same as the one with zeros.
        """
        inputs = example(model, next(_batches(context, 1), None))
        model.eval()
        whole = copy.deepcopy(model) if self.layers else model
        if self.layers:
            surgery.keep_layers_(model, self.layers)
        found = coupled(model, inputs)
        ranked = self._ranked(model, found, context)
        counts = self._counts(model, ranked, self._budgets(whole, model, found, inputs))
        if self.max_latency is not None:
            with processes.first_alone():  # the others read what it noted
                counts = self._timed(model, ranked, counts, found.macs, context)
        chosen = _chosen(ranked, counts)
        removed = surgery.removal(chosen)
        readers = dict.fromkeys(axis for group, _ in chosen for axis in group.readers)
        compensate.compensate_(model, removed, readers, _inputs(model, context, self.batches))
        slim = _without(model, chosen)
        surgery.zero_(model, removed)
        surgery.check_same(model, slim, inputs)
        if chosen:
            recalibrate.recalibrate_(slim, _inputs(slim, context, self.batches))
        return slim.eval()

    def _ranked(self, model: nn.Module, found: Coupled, context: ModuleContext) -> list[Ranked]:
        kinds = {kind for kind in ("ffn", "heads", "channels") if getattr(self, kind)}
        if any(getattr(self, name) is not None for name in BUDGETS):
            kinds |= {"ffn", "channels"}
        groups = [group for group in found.groups if self._part(model, group) in kinds]
        for kind in kinds:
            if getattr(self, kind) and not any(
                self._part(model, group) == kind for group in groups
            ):
                why = "; ".join(sorted(set(found.kept.values())))
                raise TrainingError(f"{kind} that can be removed", f"none: {why}")
        batches = _batches(context, self.batches)
        totals = importance.scores(model, groups, self.criterion, batches)
        pairs = zip(groups, totals, strict=True)
        return [choose.rank(group, total, self.channel_multiple) for group, total in pairs]

    def _budgets(
        self, whole: nn.Module, model: nn.Module, found: Coupled, inputs: Mapping[str, Tensor]
    ) -> list[Budget]:
        budgets = []
        if self.max_macs is not None:
            before = coupled(whole, inputs).macs if self.layers else found.macs
            budgets.append(Budget(costs=found.macs, most=self.max_macs * sum(before.values())))
        if self.max_parameters is not None:
            numbers = {name: p.numel() for name, p in model.named_parameters()}
            before = {name: p.numel() for name, p in whole.named_parameters()}
            budgets.append(Budget(costs=numbers, most=self.max_parameters * sum(before.values())))
        return budgets

    def _counts(
        self, model: nn.Module, ranked: Sequence[Ranked], budgets: Sequence[Budget]
    ) -> list[int]:
        counts = [0] * len(ranked)
        pick = choose.alike if self.uniform else choose.overall
        for kind in ("ffn", "heads", "channels"):
            here = [i for i, r in enumerate(ranked) if self._part(model, r.group) == kind]
            share = getattr(self, kind)
            for i, n in zip(here, pick([ranked[i] for i in here], share), strict=True):
                counts[i] = n
        return budget.within(model, ranked, counts, budgets, uniform=self.uniform)

    def _timed(
        self,
        model: nn.Module,
        ranked: Sequence[Ranked],
        counts: list[int],
        macs: Mapping[str, int],
        context: ModuleContext,
    ) -> list[int]:
        """So many that the measured time is kept; noted in the step's folder for killed runs."""
        latency, most, kept = context.latency, self.max_latency, context.folder / WIDTHS
        assert most is not None
        sizes = [len(each.group) for each in ranked]
        asked_for = json.loads(json.dumps({"step": plugins.dump(self), "elements": sizes}))
        if kept.exists():
            noted = json.loads(kept.read_text(encoding="utf-8"))
            if {key: noted[key] for key in asked_for} == asked_for:
                return [int(n) for n in noted["gone"]]
        if latency is None:
            raise TrainingError(
                "a way to measure, for max-latency",
                "none",
                "Run the step by a recipe, or give the ModuleContext a latency.",
            )
        total = sum(macs.values())

        def limited(share: float) -> list[int]:
            asked = [Budget(costs=macs, most=share * total)]
            return budget.within(model, ranked, counts, asked, uniform=self.uniform)

        def ratio(tried: Sequence[int]) -> float:
            return latency(_without(model, _chosen(ranked, tried)))

        found = budget.timed(counts, limited, ratio, most)
        store.write_text(kept, json.dumps({**asked_for, "gone": found}))
        return found

    def _part(self, model: nn.Module, group: Group) -> str | None:
        """The option that a group belongs to."""
        if group.kind == "neurons":
            return "ffn" if _is_ffn(model, group) else None
        is_left = group.kind == "channels" and group.is_shared and not self.residual
        return None if is_left else group.kind


def _chosen(ranked: Sequence[Ranked], counts: Sequence[int]) -> Chosen:
    return [(r.group, r.order[:n]) for r, n in zip(ranked, counts, strict=True) if n]


def _without(model: nn.Module, chosen: Chosen) -> nn.Module:
    """A copy in which these elements are removed, and that says so."""
    slim = copy.deepcopy(model)
    for group, gone in chosen:
        if group.kind == "heads":
            surgery.tell_heads(slim, group, len(gone))
        width = next(iter(group.members.values())).shape[1]
        if _is_ffn(model, group):
            surgery.tell_config(slim, group, (len(group) - len(gone)) * width)
    surgery.cut_(slim, surgery.removal(chosen))
    return slim


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


def _inputs(model: nn.Module, context: ModuleContext, count: int) -> Iterator[Mapping[str, Tensor]]:
    return (forward_inputs(model, batch) for batch in _batches(context, count))


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
