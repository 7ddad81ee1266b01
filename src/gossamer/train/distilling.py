"""A student at work with its teacher, in somebody else's training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gossamer.errors import TrainingError
from gossamer.train import adapters
from gossamer.train.attachment import Attachment
from gossamer.train.cached_teacher import CachedTeacher
from gossamer.train.loss import Loss, Pairs, Seen, Side, Watch
from gossamer.train.outputs import Call, logits_of
from gossamer.train.watching import Watcher

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from gossamer.train.attachment import Batch


class Distilling(Attachment):
    """A student at work with its teacher.

    Attributes:
        terms: The losses of the last call of `loss`, unweighted, by name; without gradients.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module | None,
        losses: Sequence[Loss],
        hard_weight: float,
    ) -> None:
        super().__init__(model)
        self.terms: dict[str, Tensor] = {}
        self._teacher, self._hard_weight = teacher, hard_weight
        self._losses = _named(losses)
        read = teacher.teacher if isinstance(teacher, CachedTeacher) else teacher
        self._watched = {n: loss.watch(model, read) for n, loss in self._losses.items()}
        self._adapters: tuple[str, ...] = ()
        self._seen: Seen | None = None
        mine = [p for w in self._watched.values() for each in w.student.values() for p in each]
        theirs = [p for w in self._watched.values() for each in w.teacher.values() for p in each]
        if theirs and isinstance(teacher, CachedTeacher):
            raise TrainingError(
                "losses of logits only, for a teacher whose logits are kept",
                f"{', '.join(n for n, w in self._watched.items() if w.teacher)}",
                "Attach the teacher itself, with cache off.",
            )
        self._student_watcher = Watcher(model, mine)
        self._teacher_watcher = Watcher(teacher, theirs) if teacher is not None else None
        self._hooks += [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after, with_kwargs=True),
        ]

    @property
    def compares_states(self) -> bool:
        """Whether a loss compares hidden states, which may differ in width."""
        return any(type(loss).pairs is not Loss.pairs for loss in self._losses.values())

    def loss(self, loss: Tensor, labels: Tensor | None = None) -> Tensor:
        """hard-weight · loss + Σ weight · (each distillation loss) of the last forward pass.

        In evaluation, or without gradients, it is the given loss: the teacher did not run.

        Args:
            loss: The task's loss.
            labels: For losses that need them, where the model's forward does not take `labels`.

        Raises:
            TrainingError: The student did not run since the last call, or what it gave does not
                fit what the teacher gave.
        """
        if not _trains(self.model):
            return loss
        if self._seen is None:
            raise TrainingError(
                "a forward pass of the student in training mode before each loss()",
                "none since it was attached or since the last loss()",
                "Call the model, then loss() once, while attached.",
            )
        seen, self._seen = self._seen, None
        labels = seen.labels if labels is None else labels
        terms = {name: self._term(name, seen, labels) for name in self._losses}
        self.terms = {name: term.detach() for name, term in terms.items()}
        weighted = [self._losses[name].weight * term for name, term in terms.items()]
        if self._hard_weight:
            weighted.append(self._hard_weight * loss)
        return sum(weighted[1:], weighted[0])

    def adapt(self, batch: Batch | None, optimizer: Optimizer | None) -> None:
        """Put adapters between hidden states that differ in width on this batch.

        Raises:
            TrainingError: There is no batch, or no optimizer to train the adapters.
        """
        if batch is None:
            raise TrainingError("a batch from batches=", "none", "It gives them anew each call.")
        call = Call((), batch).without_labels(self.model)
        with _quiet(self.model), torch.no_grad():
            self._student_watcher.open()
            output = self.model(**call.kwargs)
            seen = self._look(call, output)
        pairs = {name: self._pairs(name, seen) for name in self._losses}
        made = adapters.made_for(pairs)
        if not made:
            return
        if optimizer is None:
            raise TrainingError(
                "optimizer= for Distill.attach, to train what lies between other widths",
                f"none, with {len(made)} pairs of hidden states that differ in width",
                "Give it: attach(model, optimizer, teacher=..., batches=...).",
            )
        if any(hasattr(self.model, name) for name in made):
            raise TrainingError(
                "a student that is not distilled yet",
                f"one that has {', '.join(made)}",
                "Detach the other first; one Distill takes several losses.",
            )
        self._adapters = tuple(made)
        for name, weight in made.items():
            self.model.register_parameter(name, weight)
        optimizer.add_param_group({"params": list(made.values())})

    def detach(self) -> None:
        """Leave the student, its adapters taken out, and the teacher; twice does nothing more."""
        super().detach()
        self._student_watcher.detach()
        if self._teacher_watcher is not None:
            self._teacher_watcher.detach()
        self._seen = None
        for name in self._adapters:
            getattr(self.model, name).grad = None  # what an optimizer passes over
            delattr(self.model, name)
        self._adapters = ()

    def _before(self, model: nn.Module, _args: object, _kwargs: object) -> None:
        self._seen = None
        if _trains(model):
            self._student_watcher.open()

    def _after(
        self, model: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object
    ) -> None:
        if _trains(model):
            self._seen = self._look(Call(args, kwargs), output)

    def _look(self, call: Call, output: object) -> Seen:
        """What student and teacher show of one call, of which the student's part is done."""
        mine = Side(
            logits=logits_of(output, self.model),
            outputs=self._student_watcher.close(),
            layers={},
            heads=_heads(self.model),
        )
        mask = call.tensor(self.model, "attention_mask")
        labels = call.tensor(self.model, "labels")
        return Seen(student=mine, teacher=self._ask(call), mask=mask, labels=labels)

    def _ask(self, call: Call) -> Side | None:
        if self._teacher is None or self._teacher_watcher is None:
            return None
        self._teacher_watcher.open()
        try:
            with _quiet(self._teacher), torch.no_grad():
                output = _run(self._teacher, call)
        finally:
            outputs = self._teacher_watcher.close()
        logits = logits_of(output, self._teacher).detach()
        return Side(logits=logits, outputs=outputs, layers={}, heads=_heads(self._teacher))

    def _pairs(self, name: str, seen: Seen) -> Pairs:
        student, teacher = _sides(seen, self._watched[name])
        return self._losses[name].pairs(student, teacher)

    def _term(self, name: str, seen: Seen, labels: Tensor | None) -> Tensor:
        student, teacher = _sides(seen, self._watched[name])
        weights = {n: getattr(self.model, n) for n in self._adapters}
        pairs = adapters.adapted(weights, name, self._pairs(name, seen))
        found = Seen(student=student, teacher=teacher, pairs=pairs, mask=seen.mask, labels=labels)
        return self._losses[name].term(found)


def _sides(seen: Seen, watch: Watch) -> tuple[Side, Side | None]:
    """What both show, under the names of one loss."""
    teacher = seen.teacher and replace(seen.teacher, layers=watch.teacher)
    return replace(seen.student, layers=watch.student), teacher


def _named(losses: Sequence[Loss]) -> Mapping[str, Loss]:
    """Losses by the names of their files, numbered from the second of a kind on."""
    found: dict[str, Loss] = {}
    for loss in losses:
        name = type(loss).__module__.rsplit(".", 1)[-1]
        same = sum(type(other) is type(loss) for other in found.values())
        found[f"{name}_{same + 1}" if same else name] = loss
    return found


def _trains(model: nn.Module) -> bool:
    return model.training and torch.is_grad_enabled()


def _heads(model: nn.Module) -> int | None:
    found = getattr(getattr(model, "config", None), "num_attention_heads", None)
    return found if isinstance(found, int) else None


@contextlib.contextmanager
def _quiet(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; then every module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _run(teacher: nn.Module, call: Call) -> object:
    call = call.without_labels(teacher)
    try:
        return teacher(*call.args, **call.kwargs)
    except torch.OutOfMemoryError:
        raise
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(
            "a teacher that takes what the student takes, on the same device",
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            "Give both the same inputs: same names, shapes, vocabulary and device.",
        ) from error
