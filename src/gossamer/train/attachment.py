"""Techniques that join somebody else's training loop, and leave it cleanly.

A technique is a frozen value; `attach` puts it to work on a model and its optimizer through torch's
own hooks. Its state lies in buffers and parameters of the model, so the loop's own
`model.state_dict()` holds it: attach to a new model and load the state dict to go on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from gossamer.errors import TrainingError

if TYPE_CHECKING:
    from types import TracebackType

    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle

    from gossamer.quant import QParams
    from gossamer.spot import Spots

Batch = Mapping[str, "Tensor"]  # what `forward` takes, by name


class Known(TypedDict, total=False):
    """What a loop can tell a technique; each technique says which of it it needs.

    Attributes:
        steps: Optimizer steps of the whole training.
        teacher: The model to learn from; it is only read.
        batches: Gives batches of training data, again from the beginning at every call.
        batch_loss: The loss of a model on one batch, for techniques that need gradients before
            the first step.
        spots: Where the int8 file will store what, for techniques that compute with its numbers.
    """

    steps: int
    teacher: nn.Module
    batches: Callable[[], Iterable[Batch]]
    batch_loss: Callable[[nn.Module, Batch], Tensor]
    spots: Spots


class Attachment:
    """A technique at work on a model. As a context manager it detaches at the end.

    Attributes:
        model: The model that it works on.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._hooks: list[RemovableHandle] = []

    def loss(self, loss: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """What to minimise, given the task's loss on the outputs of the last forward pass.

        Args:
            loss: The task's loss.
            labels: For techniques that need them, where the model's forward does not take them.
        """
        return loss

    def ranges(self) -> dict[str, QParams]:
        """Numbers that values and weights are to be stored with, by name; most set none."""
        return {}

    def rounded(self) -> nn.Module:
        """The detached model with the weights that will be stored, if they are other ones."""
        return self.model

    def detach(self) -> None:
        """Leave the model as an ordinary module that computes the same; twice does nothing more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()


@dataclass(frozen=True, kw_only=True, slots=True)
class Technique(ABC):
    """One technique with its options, to be attached to any number of trainings."""

    @property
    def needs(self) -> frozenset[str]:
        """What of `Known` a loop should tell it."""
        return frozenset()

    @abstractmethod
    def attach(
        self, model: nn.Module, optimizer: Optimizer | None = None, **known: Unpack[Known]
    ) -> Attachment:
        """Put it to work on `model`.

        Args:
            model: The module to train, before any wrapper for several processes.
            optimizer: What trains it; own parameters of a technique become a group of it.
            known: What the loop can tell; a technique ignores what it does not need.

        Raises:
            TrainingError: Something that it needs was not given, or the model does not fit.
        """


class Attachments:
    """Several techniques at work on one model, in their order; detached in the opposite one.

    Attributes:
        model: The model that they work on.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        techniques: Iterable[Technique],
        known: Callable[[Technique], Known],
    ) -> None:
        """Attach `techniques`, each told what `known` gives for it; all of them or none.

        Raises:
            TrainingError: One of them cannot join.
        """
        self.model = model
        self._ordinary = set(model.state_dict())
        self._attached: list[Attachment] = []
        self._detached: list[Attachment] = []
        try:
            for technique in techniques:
                attached = technique.attach(model, optimizer, **known(technique))
                self._attached.append(attached)
        except BaseException:
            self.detach()
            raise

    def loss(self, loss: Tensor, labels: Tensor | None = None) -> Tensor:
        """What to minimise, given the task's loss: each may change what those before it made."""
        for attachment in self._attached:
            loss = attachment.loss(loss, labels)
        return loss

    def state(self) -> dict[str, Tensor]:
        """What the techniques hold beyond the ordinary model, for loops that keep it apart."""
        return {k: x for k, x in self.model.state_dict().items() if k not in self._ordinary}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` gave, in a model whose ordinary weights are loaded already.

        Raises:
            TrainingError: It is of other techniques.
        """
        own = self.state()
        if set(own) != set(state):
            odd = sorted(set(own) ^ set(state))
            raise TrainingError(
                "the state of these techniques", f"another one, unlike in {', '.join(odd[:3])}"
            )
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def detach(self) -> None:
        """Leave the model as an ordinary module; twice does nothing more."""
        while self._attached:
            attached = self._attached.pop()
            attached.detach()
            self._detached.append(attached)

    def ranges(self) -> dict[str, QParams]:
        """Numbers that values and weights are to be stored with, by name."""
        every = (*self._attached, *self._detached)
        return {name: x for each in every for name, x in each.ranges().items()}

    def rounded(self) -> nn.Module:
        """The detached model, with the weights that will be stored if a technique rounds them."""
        rounding = [each for each in self._detached if each.ranges()]
        return rounding[0].rounded() if rounding else self.model


def needed(technique: Technique, known: Known, name: str) -> Any:
    """What the loop told under `name`.

    Raises:
        TrainingError: It told nothing of that name.
    """
    if name not in known:
        raise TrainingError(
            f"{name}= for {type(technique).__name__}.attach",
            "none" if not known else f"only {', '.join(sorted(known))}",
            f"Give it: attach(model, optimizer, {name}=...).",
        )
    return known[name]  # type: ignore[literal-required]
