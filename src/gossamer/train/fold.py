"""BatchNorms taken into the layers in front of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import nn

from gossamer.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
Product = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
TOLERANCE = 1e-4  # of the largest output; folding computes the same in another order


def fold_batch_norms(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The paths of the BatchNorms that are Identities now; `model` is edited in place.

    The weights and biases in front of them take up their statistics and parameters, as in the file
    that runs: there the BatchNorm is folded, and what is rounded is the folded weight. Training
    with a BatchNorm between would round other numbers, with statistics of each batch. Its
    statistics stay what they are (frozen) from here on, so fold what is trained already.

    A BatchNorm is folded if it reads, in one run on `inputs`, just what one Conv or Linear wrote;
    others stay. Do it before there is an optimizer: biases are new, and parameters of BatchNorms
    go.

    Args:
        model: In any mode; it is left in the mode that it had.
        inputs: An example of what `forward` takes, by name.

    Raises:
        TrainingError: The model does not compute the same afterwards, because something else reads
            what is between; the model is as it was.
    """
    before = _pairs_and_outputs(model, inputs)
    undo = [_Undo.of(model, path, product) for path, product in before.pairs.items()]
    for each, (path, product) in zip(undo, before.pairs.items(), strict=True):
        _fold(product, each.norm)
        _replace(model, path, nn.Identity())
    after = _pairs_and_outputs(model, inputs)
    if not _agree(before.outputs, after.outputs):
        for each in undo:
            each.restore(model)
        raise TrainingError(
            "a model in which only a BatchNorm reads what the layer in front of it writes",
            f"{type(model).__name__}, which computes something else without its BatchNorms",
            "Fold them yourself, or give the layers modules of their own.",
        )
    return tuple(before.pairs)


@dataclass(kw_only=True, slots=True)
class _Run:
    """What one run showed.

    Attributes:
        pairs: By the path of a BatchNorm that can be folded, the layer in front of it.
        outputs: Tensors that the model returned.
    """

    pairs: dict[str, Product]
    outputs: list[Tensor]


@dataclass(kw_only=True, slots=True)
class _Undo:
    path: str
    norm: Norm
    product: Product
    weight: Tensor
    bias: nn.Parameter | None
    bias_before: Tensor | None

    @classmethod
    def of(cls, model: nn.Module, path: str, product: Product) -> _Undo:
        norm = model.get_submodule(path)
        if not _is_norm(norm):
            raise TypeError(norm)
        bias = dict(product.named_parameters(recurse=False)).get("bias")
        return cls(
            path=path,
            norm=norm,
            product=product,
            weight=product.weight.detach().clone(),
            bias=bias,
            bias_before=None if bias is None else bias.detach().clone(),
        )

    def restore(self, model: nn.Module) -> None:
        with torch.no_grad():
            self.product.weight.copy_(self.weight)
            if self.bias is not None and self.bias_before is not None:
                self.bias.copy_(self.bias_before)
        self.product.register_parameter("bias", self.bias)
        _replace(model, self.path, self.norm)


def _pairs_and_outputs(model: nn.Module, inputs: Mapping[str, Tensor]) -> _Run:
    layers = {
        path: layer
        for path, layer in model.named_modules()
        if _is_product(layer) or _is_norm(layer)
    }
    seen = {path: _Seen() for path in layers}
    hooks = [layer.register_forward_hook(seen[path].note) for path, layer in layers.items()]
    modes = {layer: layer.training for layer in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            outputs = _tensors(model(**inputs))
    finally:
        for hook in hooks:
            hook.remove()
        for layer, mode in modes.items():
            layer.training = mode
    once = {path: each for path, each in seen.items() if each.calls == 1}
    pairs: dict[str, Product] = {}
    for path, each in once.items():
        norm = layers[path]
        beside = [p for p, other in once.items() if other.read is each.read]
        makers = [p for p, other in once.items() if other.written is each.read]
        if _is_norm(norm) and norm.running_mean is not None and len(beside) == len(makers) == 1:
            product = layers[makers[0]]
            if _is_product(product):
                pairs[path] = product
    return _Run(pairs=pairs, outputs=outputs)


@dataclass(kw_only=True, slots=True)
class _Seen:
    """What a layer read and wrote in one run, kept so that no other tensor takes its place."""

    calls: int = 0
    read: object = None
    written: object = None

    def note(self, _: nn.Module, given: tuple[object, ...], output: object) -> None:
        self.calls += 1
        self.read, self.written = given[0] if given else None, output


def _fold(product: Product, norm: Norm) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError(norm)
    with torch.no_grad():
        factor = torch.rsqrt(variance.double() + norm.eps)
        if norm.weight is not None:
            factor = factor * norm.weight.double()
        offset = -mean.double() * factor
        if norm.bias is not None:
            offset = offset + norm.bias.double()
        rows = factor.reshape(-1, *[1] * (product.weight.ndim - 1))
        if product.bias is None:
            zeros = product.weight.new_zeros(len(product.weight))
            fresh = nn.Parameter(zeros, requires_grad=product.weight.requires_grad)
            product.register_parameter("bias", fresh)
        bias = product.get_parameter("bias")
        bias.copy_(bias.double() * factor + offset)
        product.weight.copy_(product.weight.double() * rows)


def _replace(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    layer.train(model.training)
    model.get_submodule(parent).add_module(name, layer)


def _is_norm(layer: nn.Module) -> TypeGuard[Norm]:
    return isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)


def _is_product(layer: nn.Module) -> TypeGuard[Product]:
    is_known = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    return is_known and "weight" in dict(layer.named_parameters(recurse=False))


def _tensors(output: object) -> list[Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, tuple | list):
        return [tensor for item in output for tensor in _tensors(item)]
    return []


def _agree(before: list[Tensor], after: list[Tensor]) -> bool:
    return all(
        (x - y).abs().max() <= TOLERANCE * x.abs().max().clamp_min(1e-30)
        for x, y in zip(before, after, strict=True)
        if x.is_floating_point() and x.numel()
    )
