"""Removing rows, columns and layers from modules, and the check that nothing else changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from gossamer.errors import TrainingError
from gossamer.train.prune.groups import Axis, Group
from gossamer.train.prune.values import tensors

Removal = Mapping[Axis, NDArray[np.int64]]  # indices that go, along axes of parameters and buffers
TOLERANCE = 1e-5
# what modules of attention call how many heads they have, and how wide these are together
HEADS = ("num_attention_heads", "num_heads", "n_heads")
WIDTHS = ("all_head_size", "embed_dim", "dim")
INNER = (  # what configs call how many neurons lie between the two layers of one
    *("intermediate_size", "hidden_dim", "d_inner", "n_inner", "dff", "feed_forward_size"),
    *("ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"),
)
KINDS = ("layer_types", "attn_layers")  # what configs call the list of each layer's kind
COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
KEPT = "kept_layers"
NUMBERS = ("layer_idx", "layer_id")  # what modules call the number of the layer that they lie in


def removal(chosen: Sequence[tuple[Group, NDArray[np.int64]]]) -> Removal:
    """All indices that go with these elements of groups."""
    found: dict[Axis, list[NDArray[np.int64]]] = {}
    for group, elements in chosen:
        for axis, indices in group.members.items():
            found.setdefault(axis, []).append(indices[elements].reshape(-1))
    return {axis: np.unique(np.concatenate(all_of)) for axis, all_of in found.items()}


@torch.no_grad()
def zero_(model: nn.Module, removed: Removal) -> None:
    """Set what would be removed to 0, in the model itself."""
    named = _named(model)
    for (name, axis), indices in removed.items():
        named[name].index_fill_(axis, torch.from_numpy(indices).to(named[name].device), 0)


@torch.no_grad()
def cut_(model: nn.Module, removed: Removal) -> None:
    """Remove rows and columns, in the model itself, whose modules then say their new sizes.

    Raises:
        TrainingError: Something of it is parametrized, by an attached technique for example.
    """
    if any(".parametrizations." in name for name, _ in removed):
        raise TrainingError(
            "plain parameters where something is removed",
            "some that are parametrized",
            "Detach the techniques that are attached to it first.",
        )
    named, owners = _named(model), _owners(model)
    changed: dict[nn.Module, None] = {}
    for name in dict.fromkeys(name for name, _ in removed):
        old = named[name]
        new = _without(old, {axis: gone for (n, axis), gone in removed.items() if n == name})
        for module, attribute in owners[id(old)]:
            setattr(module, attribute, new)
            changed[module] = None
    for module in changed:
        _tell_sizes(module)


def tell_heads(model: nn.Module, group: Group, removed: int) -> None:
    """Tell the modules of attention that they have fewer heads now; before the rows are cut."""
    named = _named(model)
    stay = len(group) - removed
    for path in dict.fromkeys(name.rpartition(".")[0].rpartition(".")[0] for name in group.makers):
        module = model.get_submodule(path)
        for name in HEADS:
            count = getattr(module, name, None)
            if isinstance(count, int) and count * stay % len(group) == 0:
                setattr(module, name, count * stay // len(group))
        width = len(named[group.makers[0]])
        for name in WIDTHS:
            if getattr(module, name, None) == width:
                setattr(module, name, width * stay // len(group))


def keep_layers_(model: nn.Module, layers: Sequence[int]) -> None:
    """Keep only some layers of the model's largest stack of equal ones, in the model itself.

    Stacks of the same length beside it, as of normalizations, keep those of the same numbers.

    Raises:
        TrainingError: There is no such stack, or it has no layer of that number.
    """
    path, stack = _stack(model)
    if not all(0 <= each < len(stack) for each in layers) or list(layers) != sorted(set(layers)):
        raise TrainingError(
            f"rising numbers of layers among 0 to {len(stack) - 1}", f"{tuple(layers)}"
        )
    parent = model.get_submodule(path.rpartition(".")[0])
    before = len(stack)
    for name, beside in list(parent.named_children()):
        if isinstance(beside, nn.ModuleList) and len(beside) == before:
            setattr(parent, name, kept_layers(beside, layers))
    for holder in (parent, getattr(model, "config", None)):
        for name in COUNTS:
            if getattr(holder, name, None) == before:
                _tell(holder, name, len(layers))
    config = getattr(model, "config", None)
    for name, value in list(vars(config).items()) if config is not None else ():
        # one entry for each layer: widths of windows, or the list that transformers has for all
        is_for_each = isinstance(value, list) and len(value) == before
        if is_for_each and (name in KINDS or all(isinstance(v, int) for v in value)):
            setattr(config, name, [value[each] for each in layers])


def kept_layers(stack: nn.ModuleList, layers: Sequence[int]) -> nn.ModuleList:
    """Some layers of a stack, told their new numbers, under which they find what is cached.

    What is left says as `KEPT` which numbers they had at first.
    """
    stay = nn.ModuleList(stack[each] for each in layers)
    before = getattr(stack, KEPT, range(len(stack)))
    setattr(stay, KEPT, [before[each] for each in layers])
    for number, (layer, was) in enumerate(zip(stay, layers, strict=True)):
        for module in layer.modules():
            for name in NUMBERS:
                if getattr(module, name, None) == was:
                    setattr(module, name, number)
    return stay


def _tell(config: object, name: str, value: int) -> None:
    try:
        setattr(config, name, value)
    except Exception as error:  # whatever a config raises that computes this number itself
        raise TrainingError(
            f"a model whose config takes a number for {name}",
            f"{type(config).__name__}: {error}",
            "Its layers cannot be removed one by one.",
        ) from error


def tell_config(model: nn.Module, group: Group, width: int) -> None:
    """Tell the config of a transformers model how wide the layers of a group are now.

    It has one number for all layers; where they differ, `loads_without` finds it.
    """
    config = getattr(model, "config", None)
    before = len(group) * next(iter(group.members.values())).shape[1]
    for name in INNER:
        if getattr(config, name, 0) in (before, None):  # None: four times as wide as the model
            setattr(config, name, width)


@torch.no_grad()
def check_same(masked: nn.Module, slim: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """The largest difference of outputs, by the largest output, which is at most 1e-5.

    Raises:
        TrainingError: The slim model cannot run, or gives other numbers than the masked one.
    """
    hint = "`forward` uses a size that does not follow from its layers; shrink less of the model."
    try:
        received = tensors([_values(slim(**inputs))])
    except Exception as error:
        raise TrainingError(
            "a slim model that runs", f"{type(error).__name__}: {error}", hint
        ) from error
    worst = 0.0
    for expected, got in zip(tensors([_values(masked(**inputs))]), received, strict=True):
        if expected.shape != got.shape:
            raise TrainingError(f"outputs {list(expected.shape)}", f"{list(got.shape)}", hint)
        largest = float(expected.abs().max()) or 1.0
        worst = max(worst, float((expected - got).abs().max()) / largest)
    if not worst <= TOLERANCE:
        raise TrainingError(
            "a slim model that gives the numbers of the masked one",
            f"a difference of {worst:.1e} of the largest",
            hint,
        )
    return worst


def _without(old: Tensor, gone: Mapping[int, NDArray[np.int64]]) -> Tensor:
    new = old.detach()
    for axis, indices in gone.items():
        stay = np.setdiff1d(np.arange(old.shape[axis]), indices)
        new = new.index_select(axis, torch.from_numpy(stay).to(old.device))
    if isinstance(old, nn.Parameter):
        return nn.Parameter(new, requires_grad=old.requires_grad)
    return new


def _owners(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Where each parameter and buffer lies; shared ones lie in several places."""
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                found.setdefault(id(tensor), []).append((module, name))
    return found


def _values(output: object) -> object:
    return list(output.values()) if isinstance(output, Mapping) else output


def _named(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _stack(model: nn.Module) -> tuple[str, nn.ModuleList]:
    found = list(_stacks(model))
    if not found:
        raise TrainingError(
            "a model with a stack of layers", "one without", "Layers that share weights stay."
        )
    return max(found, key=lambda item: sum(p.numel() for p in item[1].parameters()))


def _stacks(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    for path, module in model.named_modules():
        is_stack = isinstance(module, nn.ModuleList) and len(module) > 1
        if is_stack and len({type(layer) for layer in module}) == 1:
            yield path, module


def _tell_sizes(module: nn.Module) -> None:
    """Set the sizes that a module of torch notes beside its weights."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _ConvNd):
        if module.groups == module.in_channels > 1:  # depthwise
            each = module.out_channels // module.in_channels
            module.groups = module.in_channels = len(module.weight) // each
            module.out_channels = len(module.weight)
            return
        rows, columns = module.weight.shape[:2]
        is_transposed = isinstance(module, _ConvTransposeNd)
        module.in_channels = rows if is_transposed else columns * module.groups
        module.out_channels = columns * module.groups if is_transposed else rows
    elif isinstance(module, _BatchNorm):
        mean = module.running_mean
        module.num_features = len(mean if mean is not None else module.weight)
    elif isinstance(module, nn.Embedding):
        module.embedding_dim = module.weight.shape[1]
    elif {"nx", "nf"} <= vars(module).keys() and isinstance(weight, Tensor):
        vars(module).update(zip(("nx", "nf"), weight.shape, strict=True))  # Conv1D of transformers
    elif isinstance(module, nn.PReLU) and isinstance(weight, Tensor):
        module.num_parameters = len(weight)
