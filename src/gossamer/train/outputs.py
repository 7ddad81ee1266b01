"""What a module's forward takes and gives, in the shapes that torch modules commonly have."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        args: By position.
        kwargs: By name.
    """

    args: tuple[object, ...]
    kwargs: Mapping[str, object]

    def named(self, module: nn.Module) -> dict[str, object]:
        """Every argument under the name that the module's forward gives it, where it has one."""
        parameters = inspect.signature(module.forward).parameters.values()
        names = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]
        return {**dict(zip(names, self.args, strict=False)), **self.kwargs}

    def tensor(self, module: nn.Module, name: str) -> Tensor | None:
        """The argument called `name`, if it is a tensor."""
        import torch

        found = self.named(module).get(name)
        return found if isinstance(found, torch.Tensor) else None

    def without_labels(self, module: nn.Module) -> Call:
        """The call without `labels`, which would only cost the time of a loss.

        Encoder-decoders keep them: they may make the decoder's inputs of them.
        """
        if getattr(getattr(module, "config", None), "is_encoder_decoder", False):
            return self
        return Call(self.args, {k: v for k, v in self.kwargs.items() if k != "labels"})


def logits_of(output: object, module: nn.Module) -> Tensor:
    """The logits in what a module's forward gave.

    A tensor itself; `logits` of a mapping (as transformers gives), or `start_logits` and
    `end_logits` as `[batch, 2, tokens]`; the first tensor of a tuple that has two dimensions.

    Raises:
        TrainingError: There are none.
    """
    import torch

    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        if isinstance(logits := output.get("logits"), torch.Tensor):
            return logits
        ends = [output.get("start_logits"), output.get("end_logits")]
        tensors = [end for end in ends if isinstance(end, torch.Tensor)]
        if len(tensors) == 2:
            return torch.stack(tensors, 1)
    elif isinstance(output, tuple | list):
        for part in output:
            if isinstance(part, torch.Tensor) and part.dim() >= 2:
                return part
    keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise TrainingError(
        f"logits from {type(module).__name__}: a tensor, a tuple, or an output with `logits`",
        f"{type(output).__name__}{keys}",
        "Load the model with its head, such as AutoModelForSequenceClassification.",
    )
