"""Techniques in the `Trainer` of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from gossamer.errors import TrainingError
from gossamer.train import stepping
from gossamer.train.attachment import Attachments, Known, Technique

if TYPE_CHECKING:
    from torch import nn

STATE = "techniques.safetensors"


class TrainerTechniques(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Put techniques to work in a `Trainer`: `trainer.add_callback(TrainerTechniques(...))`.

    They join when training begins, change the loss that the model returns for its labels, and
    leave when training ends. A resumed training goes on with what they had learned. A `Trainer`
    with a loss function of its own does not see the changed loss: attach such techniques yourself.

    Args:
        techniques: What joins, in this order.
        known: What they need to know, as `Technique.attach` takes it; `steps` is the Trainer's.
    """

    def __init__(self, *techniques: Technique, **known: Any) -> None:
        self.techniques = techniques
        self.known = known
        self.attached: Attachments | None = None
        self._hook: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Attach; go on with a checkpoint's state if the Trainer does.

        Raises:
            TrainingError: A technique cannot join, or the checkpoint has no state of theirs.
        """
        model: nn.Module = given["model"]
        optimizer = stepping.real(given["optimizer"])
        told: Known = {"steps": state.max_steps, **self.known}  # type: ignore[typeddict-item]
        self.attached = Attachments(model, optimizer, self.techniques, lambda _: told)
        # behind the hooks of the techniques, which must have seen this forward pass
        self._hook = model.register_forward_hook(self._with_changed_loss)
        if state.global_step:
            self.attached.restore(_read(_folder(args, state)))

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Write what the techniques hold into the Trainer's checkpoint."""
        from safetensors.torch import save_file

        if self.attached is not None and state.is_world_process_zero:
            own = {n: x.detach().clone().contiguous() for n, x in self.attached.state().items()}
            save_file(own, _folder(args, state) / STATE)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Detach: what is saved from here on is an ordinary model."""
        if self._hook is not None:
            self._hook.remove()
        if self.attached is not None:
            self.attached.detach()
            self.attached = None

    def _with_changed_loss(self, module: nn.Module, _: Any, output: Any) -> Any:
        loss = getattr(output, "loss", None)
        if self.attached is None or not module.training or loss is None:
            return output
        output["loss"] = self.attached.loss(loss)
        return output


def _folder(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _read(folder: Path) -> Any:
    from safetensors.torch import load_file

    if not (folder / STATE).exists():
        raise TrainingError(
            f"the techniques' state in {folder / STATE}",
            "a checkpoint without it",
            "Train from the beginning, or without these techniques.",
        )
    return load_file(folder / STATE)
