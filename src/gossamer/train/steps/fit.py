"""Training on labelled samples, with any number of techniques at work at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gossamer.errors import RecipeError
from gossamer.step import ModuleContext, ModuleStep
from gossamer.train.attachment import Technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit(ModuleStep):
    """Trains the whole module; techniques (distill, sparsify, …) join the one loop together.

    The learning rate rises linearly and then falls linearly to 0. A killed training goes on where
    its last checkpoint was made, with the same result to the bit.

    Attributes:
        epochs: Passes over the training samples; a share of the last one is fine.
        batch: Samples of one optimizer step, over all processes.
        learning_rate: At its peak.
        optimizer: AdamW, or SGD with momentum 0.9 and Nesterov's step.
        weight_decay: Not applied to vectors (biases and the weights of norms).
        warmup: Share of the steps in which the learning rate rises.
        augment: What is done to samples: nothing; images flipped left to right by chance and
            shifted by up to an eighth of their sides; up to 0.3 of the tokens of a text hidden; or
            all but one run of them, in most texts (for training with a teacher).
        techniques: What joins, in this order; each may change the loss of those before it.
    """

    learns: ClassVar[bool] = True
    epochs: float = 3.0
    batch: int = 32
    learning_rate: float = 5e-5
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.01
    warmup: float = 0.06
    augment: Literal["none", "flip-and-shift", "hide-tokens", "crop-tokens"] = "none"
    techniques: tuple[Technique, ...] = ()

    def __post_init__(self) -> None:
        wrong = {
            "epochs": self.epochs <= 0,
            "batch": self.batch < 1,
            "learning-rate": self.learning_rate <= 0,
            "weight-decay": self.weight_decay < 0,
            "warmup": not 0 <= self.warmup < 1,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            received = getattr(self, name.replace("-", "_"))
            raise RecipeError(
                f"a positive number for fit.{name}", f"{received}", "Leave it out for its default."
            )

    def apply(self, model: nn.Module, context: ModuleContext) -> nn.Module:
        """The trained module, in eval mode.

        Raises:
            RecipeError: There is no training data.
            TrainingError: A technique cannot join, or the loss is no number any more.
        """
        from gossamer.train.loop import fit

        return fit(model, self, context)
