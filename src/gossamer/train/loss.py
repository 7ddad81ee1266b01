"""Losses of distillation: frozen values that make one number of what two models showed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar

from gossamer.errors import RecipeError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

Pairs = tuple[tuple["Tensor", "Tensor"], ...]
T = TypeVar("T")
IGNORED = -100  # the label of what has none, as in torch and transformers


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one model showed in one forward pass.

    Attributes:
        logits: `[batch, classes]`, `[batch, tokens, classes]`, or what else the model gives.
        outputs: Of the watched modules, by path.
        layers: The paths that the loss watches, by its names for them.
        heads: Attention heads of a layer; None where the model does not say.
    """

    logits: Tensor
    outputs: Mapping[str, object]
    layers: Mapping[str, Sequence[str]]
    heads: int | None = None

    def tensors(self, name: str) -> tuple[Tensor, ...]:
        """The outputs of the modules watched as `name`; the first of each tuple.

        Raises:
            TrainingError: A module was not run, or gives no tensor.
        """
        return tuple(self._part(path, 0) for path in self.layers.get(name, ()))

    def maps(self, name: str) -> tuple[Tensor, ...]:
        """The attention maps of the modules watched as `name`, `[batch, heads, tokens, tokens]`.

        Raises:
            TrainingError: A module was not run, or gives no map beside its output.
        """
        return tuple(self._part(path, 1) for path in self.layers.get(name, ()))

    def _part(self, path: str, index: int) -> Tensor:
        import torch

        if path not in self.outputs:
            raise TrainingError(
                f"a forward pass that runs the module {path}",
                "one that did not",
                "Name modules that every forward pass runs.",
            )
        whole = self.outputs[path]
        parts = whole if isinstance(whole, tuple | list) else (whole,)
        part = parts[index] if index < len(parts) else None
        if not isinstance(part, torch.Tensor) or (index and part.dim() != 4):
            raise TrainingError(
                f"{'an attention map' if index else 'a tensor'} from the module {path}",
                f"{type(whole).__name__} without one",
                "Load transformers models with attn_implementation='eager'." if index else "",
            )
        return part


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a loss is computed from.

    Attributes:
        student: What the student showed, with gradients.
        teacher: What the teacher showed, without; None where there is no teacher.
        pairs: What `Loss.pairs` chose, the student's part behind its adapter.
        mask: 1 for real tokens, 0 for padding, `[batch, tokens]`; None if everything is real.
        labels: Classes `[batch]` or `[batch, tokens]`; None if the loop did not tell.
    """

    student: Side
    teacher: Side | None = None
    pairs: Pairs = ()
    mask: Tensor | None = None
    labels: Tensor | None = None

    def logits(self) -> tuple[Tensor, Tensor]:
        """Logits of student and teacher in float32 or wider, `[samples or real tokens, classes]`.

        Raises:
            TrainingError: The two are of different shapes.
        """
        teacher = taught(self.teacher)
        student, wanted = self.student.logits, teacher.logits
        if student.shape != wanted.shape or student.dim() < 2:
            raise TrainingError(
                "logits [batch, …, classes] of one shape from student and teacher",
                f"{list(student.shape)} from the student and {list(wanted.shape)} from the teacher",
                "Both must have the same classes, in the same order.",
            )
        return rows(student, self.mask), rows(wanted, self.mask)

    def targets(self) -> Tensor:
        """The label of each row of `logits()`, IGNORED where it has none, `[rows]`.

        Raises:
            TrainingError: There are no labels, or not one class for each row.
        """
        shape, classes = self.student.logits.shape[:-1], self.student.logits.shape[-1]
        labels = self.labels
        if labels is None or labels.is_floating_point() or labels.numel() != shape.numel():
            raise TrainingError(
                f"classes {list(shape)} as labels",
                "none" if labels is None else f"{labels.dtype} {list(labels.shape)}",
                "Give labels= to the model's forward, or to the attachment's loss().",
            )
        found = rows(labels.reshape(*shape, 1), self.mask)[:, 0].long()
        out = found[(found != IGNORED) & ((found < 0) | (found >= classes))]
        if len(out):
            raise TrainingError(f"labels of {classes} classes", f"the label {int(out[0])}")
        return found


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Paths of modules whose outputs a loss has to see, under names of its own.

    Attributes:
        student: In the student.
        teacher: In the teacher.
    """

    student: Mapping[str, Sequence[str]] = field(default_factory=dict)
    teacher: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss(ABC):
    """One way to measure how far a student is from what it shall become.

    Attributes:
        weight: What the loss is multiplied with in the sum that is minimised.
    """

    needs_teacher: ClassVar[bool] = True
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise RecipeError(
                "a weight of at least 0",
                repr(self.weight),
                "1 is the default; leave out a loss that shall not count.",
            )

    def watch(self, student: nn.Module, teacher: nn.Module | None) -> Watch:  # noqa: ARG002
        """The modules whose outputs it has to see; none for losses of logits.

        Raises:
            TrainingError: A model has no such modules.
        """
        return Watch()

    def pairs(self, student: Side, teacher: Side | None) -> Pairs:  # noqa: ARG002
        """What the student shall imitate: (its hidden state, the one to reach).

        Where the two have different widths, a linear map that trains with the student is put
        behind the first: of the last dimension, or of channels for `[batch, channels, h, w]`.
        """
        return ()

    @abstractmethod
    def term(self, seen: Seen) -> Tensor:
        """The loss without its weight, a scalar that the student's gradients flow through."""


def rows(values: Tensor, mask: Tensor | None) -> Tensor:
    """The last dimension of all samples or, where there are tokens, of all real tokens.

    Args:
        values: `[batch, n]`, or `[batch, tokens, n]` to which the mask belongs.
        mask: 0 for padding, `[batch, tokens]`.

    Returns:
        `[rows, n]`, half precision widened to float32.
    """
    flat = values.reshape(-1, values.shape[-1])
    if mask is not None and mask.shape == values.shape[:-1]:
        flat = flat[mask.reshape(-1) != 0]
    return wide(flat)


def wide(values: Tensor) -> Tensor:
    """The same numbers, half precision widened to float32."""
    return values.float() if values.dtype.itemsize < 4 else values


def mean(values: Tensor) -> Tensor:
    """The mean; 0 of nothing, where every token of a batch is padding."""
    return values.sum() / max(values.numel(), 1)


def taught(teacher: T | None) -> T:
    """The teacher, or what it showed.

    Raises:
        TrainingError: There is none.
    """
    if teacher is None:
        raise TrainingError("a teacher", "none", "Give it: attach(model, optimizer, teacher=...).")
    return teacher


def check_temperature(temperature: float) -> None:
    """Refuse what logits cannot be divided by.

    Raises:
        RecipeError: It is not a positive number.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise RecipeError(
            "a temperature above 0", repr(temperature), "1 to 8 are usual; 1 leaves logits alone."
        )


def kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ p_t (log p_t − log p_s) over the last dimension, of log-probabilities.

    Both may be −inf for what is impossible, as masked attention is.
    """
    possible = teacher.isfinite() & student.isfinite()
    gap = (teacher - student).masked_fill(~possible, 0.0)
    return (teacher.exp() * gap).sum(-1)


def head_rows(values: Tensor, mask: Tensor | None) -> Tensor:
    """Of `[batch, heads, tokens, …]`, what belongs to real tokens, `[real tokens, heads, …]`."""
    found = values.transpose(1, 2)
    if mask is not None and mask.shape == found.shape[:2]:
        return found[mask != 0]
    return found.flatten(0, 1)


def map_distance(student: Tensor, teacher: Tensor, mask: Tensor | None, kind: str) -> Tensor:
    """How far attention maps `[batch, heads, tokens, tokens]` are apart, without padded queries.

    Args:
        student: Probabilities.
        teacher: Probabilities of the same shape.
        mask: 0 for padding, `[batch, tokens]`.
        kind: `kl`, KL(teacher ‖ student) of a query, or `mse`, the mean of squares over real keys.

    Raises:
        TrainingError: They differ in shape.
    """
    import torch

    if student.shape != teacher.shape:
        raise TrainingError(
            "attention maps of one shape",
            f"{list(student.shape)} from the student and {list(teacher.shape)} from the teacher",
            "Models with different numbers of heads learn by the loss relations.",
        )
    if kind == "mse":
        squares = wide(student - teacher) ** 2
        if mask is None:
            return mean(squares)
        keys = (mask != 0)[:, None, None, :].expand_as(squares)
        return mean(head_rows(squares, mask)[head_rows(keys, mask)])
    mine, wanted = head_rows(wide(student), mask), head_rows(wide(teacher), mask)
    least = torch.finfo(mine.dtype).tiny  # as a masked map has zeros
    gap = wanted.clamp_min(least).log() - mine.clamp_min(least).log()
    return mean((wanted * gap).sum(-1))


def check_classes(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both as they are.

    Raises:
        TrainingError: There is one class only, whose probability is always 1.
    """
    if student.shape[-1] < 2:
        raise TrainingError("logits of two classes or more", "one", "For regression take mse.")
    return student, teacher


def distance(student: Tensor, teacher: Tensor, mask: Tensor | None, kind: str) -> Tensor:
    """How far two hidden states of one shape are from each other, padding left out.

    Args:
        student: `[batch, n]`, `[batch, tokens, n]`, or anything that has no mask.
        teacher: The same.
        mask: 0 for padding, `[batch, tokens]`.
        kind: `mse`, the mean of squares, or `cosine`, 1 − the cosine of the last dimension.

    Raises:
        TrainingError: They differ in shape.
    """
    if student.shape != teacher.shape:
        raise TrainingError(
            "hidden states that differ in their width only",
            f"{list(student.shape)} from the student and {list(teacher.shape)} to reach",
            "Name layers whose outputs have the same length or size of image.",
        )
    mine, wanted = rows(student, mask), rows(teacher, mask)
    if kind == "mse":
        return mean((mine - wanted) ** 2)
    return 1 - mean((mine * wanted).sum(-1) / (mine.norm(dim=-1) * wanted.norm(dim=-1) + 1e-12))
