"""The training loop of the step `fit`: one process, or as many as it was launched in."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gossamer import carried, store
from gossamer.errors import RecipeError, StorageError, TrainingError
from gossamer.plugins import require
from gossamer.train import stepping
from gossamer.train.attachment import Attachments
from gossamer.train.augment import crop_tokens, flip_and_shift, hide_tokens
from gossamer.train.batches import LABELS
from gossamer.train.task_loss import batch_loss

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from gossamer.quant import QParams
    from gossamer.spot import Spots
    from gossamer.step import ModuleContext, TrainingSet
    from gossamer.train.attachment import Batch, Technique
    from gossamer.train.steps.fit import Fit

RESULT = "trained.safetensors"
CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 60.0
AUGMENTS = {
    "flip-and-shift": flip_and_shift,
    "hide-tokens": hide_tokens,
    "crop-tokens": crop_tokens,
}
FEW_BATCHES = 16  # for techniques that look at data before the first step


@dataclass(frozen=True, kw_only=True, eq=False)
class _Training:
    """What one run of the loop works with."""

    model: nn.Module
    optimizer: Optimizer
    attached: Attachments
    options: Fit
    context: ModuleContext
    training: TrainingSet
    steps: int
    accelerator: Any


def fit(model: nn.Module, options: Fit, context: ModuleContext) -> nn.Module:
    """`model` trained as `options` say, in eval mode and without any attachment.

    Under `accelerate launch` or `torchrun` every process takes its share of each batch, and the
    first one writes. What a killed run left in `context.folder` is taken up again.

    Where a technique computes with the numbers of the int8 file (`quantize-aware`), BatchNorms are
    folded before all else; what comes back has the weights on their grid, and `ranges.json` beside
    the result says the ranges, for the exported graph.

    Raises:
        RecipeError: There is no training data.
        TrainingError: A technique cannot join, the data does not fit, or the loss is no number.
        StorageError: The folder cannot be written, or holds another model's checkpoint.
        MissingDependency: accelerate is not installed.
    """
    accelerate = require("accelerate", "train", "the training loop")
    spots = _spots(model, options, context)
    if (context.folder / RESULT).exists():
        _load_result(model, context.folder / RESULT)
        return model.eval()
    accelerator = accelerate.Accelerator(
        cpu=not torch.cuda.is_available(),
        # some parameters get no gradient (an encoder's pooler), and some get theirs from what
        # techniques make of hidden states, beside the output: the first step shows which
        kwargs_handlers=[accelerate.DistributedDataParallelKwargs(static_graph=True)],
    )
    with torch.random.fork_rng(devices=[]), contextlib.ExitStack() as leave:
        run = _joined(model, options, context, spots, accelerator, leave)
        _train(run)
    accelerator.unwrap_model(run.model).cpu().eval()
    trained = run.attached.rounded()
    if accelerator.is_main_process:
        _save_result(trained, run.attached.ranges(), context.folder)
    accelerator.wait_for_everyone()
    return trained.eval()


def _spots(model: nn.Module, options: Fit, context: ModuleContext) -> Spots | None:
    """Where the int8 file stores what, if a technique asks; it is the same at every call."""
    is_asked = any("spots" in technique.needs for technique in options.techniques)
    return context.spots(model) if is_asked and context.spots is not None else None


def _joined(
    model: nn.Module,
    options: Fit,
    context: ModuleContext,
    spots: Spots | None,
    accelerator: Any,
    leave: contextlib.ExitStack,
) -> _Training:
    """The training with every technique at work; they detach when `leave` is closed."""
    training = context.training
    if training is None:
        raise RecipeError(
            "training samples for the step fit",
            "a recipe without any",
            "Name them in the recipe: training: PATH.",
        )
    processes = accelerator.num_processes
    if len(training) < options.batch:
        raise TrainingError(
            f"at least {options.batch} samples for a batch of {options.batch}",
            f"{len(training)}",
            "Lower batch.",
        )
    if options.batch % processes:
        raise TrainingError(
            f"a batch that {processes} processes can share", f"{options.batch}", "Change batch."
        )
    steps = max(1, round(options.epochs * (len(training) // options.batch)))
    torch.manual_seed(context.seed)  # what techniques draw when they join
    model.train()
    optimizer = _optimizer(model, options)
    known = functools.partial(_known, training, options, context, steps, spots)
    attached = Attachments(model, optimizer, options.techniques, known)
    leave.callback(attached.detach)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    return _Training(
        model=prepared,
        optimizer=optimizer,
        attached=attached,
        options=options,
        context=context,
        training=training,
        steps=steps,
        accelerator=accelerator,
    )


def _known(
    training: TrainingSet,
    options: Fit,
    context: ModuleContext,
    steps: int,
    spots: Spots | None,
    technique: Technique,
) -> Any:
    """What `technique` needs to know of this training."""
    few = min(options.batch, len(training))
    given: dict[str, Callable[[], object]] = {
        "steps": lambda: steps,
        "teacher": context.teacher,
        "batches": lambda: lambda: islice(training.batches(few, context.seed), FEW_BATCHES),
        "batch_loss": lambda: batch_loss,
        **({} if spots is None else {"spots": lambda: spots}),
    }
    return {name: give() for name, give in given.items() if name in technique.needs}


def _optimizer(model: nn.Module, options: Fit) -> Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=options.learning_rate)


def _train(run: _Training) -> None:
    schedule = torch.optim.lr_scheduler.LambdaLR(
        stepping.real(run.optimizer), lambda step: _rate(step, run)
    )
    start = _resume(run, schedule)
    progress = run.context.progress
    progress.stage("fit", total=run.steps)
    progress.advance(start)
    saved = time.monotonic()
    for step, batch in enumerate(_batches(run, start), start):
        # a seed for each step: a training that goes on draws what the whole one would have drawn
        seed = (run.context.seed * run.steps + step) * run.accelerator.num_processes
        torch.manual_seed(seed + run.accelerator.process_index)
        loss = batch_loss(run.model, _augmented(batch, run))
        loss = run.attached.loss(loss, batch[LABELS])
        _check_finite(loss, step, run)
        run.accelerator.backward(loss)
        run.optimizer.step()
        schedule.step()
        run.optimizer.zero_grad()
        progress.advance()
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save_checkpoint(run, schedule, step + 1)
            saved = time.monotonic()


def _rate(step: int, run: _Training) -> float:
    """The learning rate of a step over its peak."""
    rising = run.options.warmup * run.steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (run.steps - step) / max(1.0, run.steps - rising))


def _batches(run: _Training, start: int) -> Iterator[Batch]:
    """This process's share of every batch from step `start` on."""
    size, device = run.options.batch, run.accelerator.device
    share = slice(run.accelerator.process_index, None, run.accelerator.num_processes)
    in_epoch = len(run.training) // size
    done = start
    while done < run.steps:
        epoch, first = divmod(done, in_epoch)
        drawn = run.training.batches(size, run.context.seed * 65_537 + epoch, first)
        for batch in islice(drawn, run.steps - done):
            yield {name: x[share].to(device) for name, x in batch.items()}
            done += 1


def _augmented(batch: Batch, run: _Training) -> Batch:
    if run.options.augment == "none":
        return batch
    random = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    return AUGMENTS[run.options.augment](batch, random)


def _check_finite(loss: Tensor, step: int, run: _Training) -> None:
    if not bool(loss.isfinite()):
        raise TrainingError(
            "a loss that is a number",
            f"{loss.item()} at step {step + 1} of {run.steps}",
            f"Lower the learning rate, {run.options.learning_rate:g}.",
        )


def _save_checkpoint(run: _Training, schedule: Any, step: int) -> None:
    if not run.accelerator.is_main_process:
        return
    state = {
        "step": step,
        "model": run.accelerator.unwrap_model(run.model).state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    with store.told_apart(run.context.folder):
        run.context.folder.mkdir(parents=True, exist_ok=True)
        scratch = run.context.folder / f".{CHECKPOINT}"
        torch.save(state, scratch)
        scratch.replace(run.context.folder / CHECKPOINT)


def _resume(run: _Training, schedule: Any) -> int:
    """The step to go on with: 0, or the one behind the checkpoint, which is loaded."""
    path = run.context.folder / CHECKPOINT
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True, map_location=run.accelerator.device)
        run.accelerator.unwrap_model(run.model).load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    except Exception as error:
        raise _other_model(path, error) from error
    return int(state["step"])


def _save_result(model: nn.Module, ranges: Mapping[str, QParams], folder: Path) -> None:
    from safetensors.torch import save

    # tied weights lie in the file once for each name: safetensors refuses shared memory
    tensors = {name: x.detach().clone().contiguous() for name, x in model.state_dict().items()}
    if ranges:  # before the result, which says that all is there
        store.write_text(folder / carried.FILE, carried.dump(ranges))
    store.write_bytes(folder / RESULT, save(tensors))
    store.remove(folder / CHECKPOINT)


def _load_result(model: nn.Module, path: Path) -> None:
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except Exception as error:
        raise _other_model(path, error) from error


def _other_model(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"weights of this model in {path}",
        f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
        "Delete that file to begin again.",
    )
