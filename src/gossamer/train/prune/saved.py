"""Slim models as files: a plain transformers folder where its config can say the shape."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gossamer.errors import TrainingError
from gossamer.train.prune.surgery import HEADS, KEPT, WIDTHS, cut_, kept_layers

WEIGHTS, SIZES = "weights.safetensors", "sizes.json"


def loads_without(model: nn.Module) -> str | None:
    """Why transformers alone cannot load what `save_pretrained` writes of this model, or None.

    The model is built from its config, without numbers, and every shape is compared.
    """
    config: Any = getattr(model, "config", None)
    if config is None or not hasattr(model, "save_pretrained"):
        return f"{type(model).__name__} is no model of transformers"
    with torch.device("meta"):
        plain = type(model)(copy.deepcopy(config))
    expected = {name: list(p.shape) for name, p in plain.state_dict().items()}
    for name, tensor in model.state_dict().items():
        if expected.get(name) != list(tensor.shape):
            return f"{name} is {list(tensor.shape)}; its config makes it {expected.get(name)}"
    gone = sorted(set(expected) - set(model.state_dict()))
    return f"{gone[0]} is gone; its config makes it" if gone else _other_numbers(model, plain)


def _other_numbers(model: nn.Module, plain: nn.Module) -> str | None:
    """Where modules note other numbers than in a fresh model, as a scale by the layer's number."""
    for path, fresh in plain.named_modules():
        notes = vars(model.get_submodule(path))
        for name, value in vars(fresh).items():
            is_note = type(value) in (int, float, str) and not name.startswith("_")
            if is_note and notes.get(name) != value:
                return f"{path}.{name} is {notes.get(name)}; its config makes it {value}"
    return None


def save(model: nn.Module, folder: Path) -> str | None:
    """Write a model, and say why transformers alone cannot load it; None if it can.

    The folder then is what `save_pretrained` writes. Otherwise it holds the weights as
    `weights.safetensors` and all sizes as `sizes.json`, which `load` reads, and the config of a
    model of transformers.
    """
    from safetensors.torch import save as serialized

    reason, plain = loads_without(model), model  # mypy: save_pretrained is of transformers
    folder.mkdir(parents=True, exist_ok=True)
    if reason is None:
        plain.save_pretrained(folder)  # type: ignore[operator]
        return None
    config: Any = getattr(model, "config", None)
    if hasattr(config, "save_pretrained"):
        config.save_pretrained(folder)
    # tied weights lie in the file once for each name: safetensors refuses shared memory
    tensors = {n: x.detach().clone().contiguous() for n, x in model.state_dict().items()}
    (folder / WEIGHTS).write_bytes(serialized(tensors))
    text = json.dumps(_sizes(model), indent=1)
    (folder / SIZES).write_text(text + "\n", encoding="utf-8")
    return reason


def load(factory: Callable[[], nn.Module], folder: Path) -> nn.Module:
    """The slim model of a folder that `save` wrote, in eval mode.

    Args:
        factory: Makes the model as it was before anything was removed, with any numbers.
        folder: With `weights.safetensors` and `sizes.json`.

    Raises:
        TrainingError: The folder holds no slim model, or one of another architecture.
    """
    from safetensors.torch import load_file

    model = factory()
    try:
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        _shrink_to_(model, sizes)
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise TrainingError(
            f"a slim model of {type(model).__name__} in {folder}",
            f"{type(error).__name__}: {error}",
            "Let the factory make the model that was shrunk.",
        ) from error
    return model.eval()


def _sizes(model: nn.Module) -> dict[str, Any]:
    modules = dict(model.named_modules())
    attributes = {
        path: {
            name: value
            for name in (*HEADS, *WIDTHS)
            if isinstance(value := getattr(m, name, None), int)
        }
        for path, m in modules.items()
    }
    return {
        "stacks": {p: getattr(m, KEPT) for p, m in modules.items() if hasattr(m, KEPT)},
        "shapes": {name: list(t.shape) for name, t in _tensors(model).items()},
        "attributes": {path: named for path, named in attributes.items() if named},
    }


def _shrink_to_(model: nn.Module, sizes: dict[str, Any]) -> None:
    """Cut a model to sizes; which of its numbers stay does not matter."""
    for path, layers in sizes["stacks"].items():
        parent, _, name = path.rpartition(".")
        stack = model.get_submodule(path)
        assert isinstance(stack, nn.ModuleList)  # of what `_sizes` wrote
        setattr(model.get_submodule(parent), name, kept_layers(stack, layers))
    removed = {}
    for name, tensor in _tensors(model).items():
        for axis, (before, now) in enumerate(zip(tensor.shape, sizes["shapes"][name], strict=True)):
            if now != before:
                removed[name, axis] = np.arange(int(now), before)
    cut_(model, removed)
    for path, named in sizes["attributes"].items():
        module = model.get_submodule(path)
        for name in set(named) & {*HEADS, *WIDTHS}:
            setattr(module, name, int(named[name]))


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
