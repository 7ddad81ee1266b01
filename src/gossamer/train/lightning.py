"""Techniques in the `Trainer` of Lightning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from gossamer.errors import TrainingError
from gossamer.train import stepping
from gossamer.train.attachment import Attachments, Known, Technique

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class LightningTechniques(Callback):
    """Put techniques to work: `Trainer(callbacks=[joined := LightningTechniques(...)])`.

    They join when training begins and leave when it ends; Lightning's checkpoints carry what they
    hold. Techniques that change the loss need one line in `training_step`:
    `loss = joined.loss(loss)`.

    Args:
        techniques: What joins, in this order.
        module: Path of the network within the LightningModule, such as `model`; empty if it is
            the LightningModule itself.
        known: What they need to know, as `Technique.attach` takes it; `steps` is the Trainer's.
    """

    def __init__(self, *techniques: Technique, module: str = "", **known: Any) -> None:
        self.techniques = techniques
        self.module = module
        self.known = known
        self.attached: Attachments | None = None
        self._kept: Mapping[str, Tensor] | None = None

    def loss(self, loss: Tensor, labels: Tensor | None = None) -> Tensor:
        """What to minimise, given the task's loss on the outputs of the last forward pass."""
        return loss if self.attached is None else self.attached.loss(loss, labels)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach; go on with a checkpoint's state if Lightning does.

        Raises:
            TrainingError: There is more than one optimizer, or a technique cannot join.
        """
        if len(trainer.optimizers) != 1:
            raise TrainingError(
                "one optimizer",
                f"{len(trainer.optimizers)}",
                "Attach in `on_train_start` yourself.",
            )
        optimizer = stepping.real(trainer.optimizers[0])
        steps = int(trainer.estimated_stepping_batches)
        told: Known = {"steps": steps, **self.known}  # type: ignore[typeddict-item]
        model = pl_module.get_submodule(self.module)
        self.attached = Attachments(model, optimizer, self.techniques, lambda _: told)
        if self._kept is not None:
            self.attached.restore(self._kept)
            self._kept = None

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Detach: what is left is an ordinary module."""
        if self.attached is not None:
            self.attached.detach()
            self.attached = None

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep what the techniques hold apart from the module's own weights."""
        if self.attached is None:
            return
        own = self.attached.state()
        prefix = f"{self.module}." if self.module else ""
        for name in own:
            del checkpoint["state_dict"][prefix + name]
        checkpoint["gossamer-techniques"] = {name: x.clone() for name, x in own.items()}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Remember it until the techniques join."""
        self._kept = checkpoint.get("gossamer-techniques")
