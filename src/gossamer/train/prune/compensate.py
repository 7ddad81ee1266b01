"""What stays makes up for what goes: weights solved for by least squares, without training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gossamer.train.prune import gather
from gossamer.train.prune.groups import Axis
from gossamer.train.prune.layers import Layer
from gossamer.train.prune.surgery import Removal

READERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
WIDEST = 8192  # inputs; the matrix of their products is as high and as wide
DAMPING = 1e-3  # of its mean diagonal: how much changes cost
SMALLEST = 1e-12  # where all inputs are 0


@torch.no_grad()
def compensate_(
    model: nn.Module,
    removed: Removal,
    readers: Iterable[Axis],
    batches: Iterable[Mapping[str, Tensor]],
) -> int:
    """How many weights now give, from inputs that stay, nearly what they gave from all.

    For a weight W with the inputs x, of which the set K stays and R goes, W_K becomes
    W_K + W_R · E[x_R x_Kᵀ] · (E[x_K x_Kᵀ] + λ)⁻¹, the ridge regression on what all inputs gave (as
    Kwon et al. 2022, arXiv:2204.09656, section 4.3, tune one number for each head and neuron; He et
    al. 2017, arXiv:1707.06168, whole weights). A bias takes part as an input that is always 1. One
    pass over the data, through the model as it is.

    Args:
        model: Is changed; what is to be removed is still in it.
        removed: Indices that will go.
        readers: Axes of weights that read what goes. Grouped convolutions stay as they are, and
            weights of more than 8,192 inputs, or that are used through something else than a
            Linear or a Conv.
        batches: As `forward` takes them; without any, nothing changes.
    """
    layers = [layer for axis in readers if axis in removed and (layer := _layer(model, axis))]
    seen = _products(model, layers, batches)
    for i, products in seen.items():
        _solve(layers[i], products, removed[f"{layers[i].path}.weight", 1])
    return len(seen)


def _layer(model: nn.Module, axis: Axis) -> Layer | None:
    path, _, name = axis[0].rpartition(".")
    module = model.get_submodule(path)
    if axis[1] != 1 or name != "weight" or not isinstance(module, READERS):
        return None
    layer = Layer(path=path, module=module)
    is_wide = layer.matrix(layer.weight).shape[1] > WIDEST
    return None if is_wide or gather.refusal(module) else layer


def _products(
    model: nn.Module, layers: list[Layer], batches: Iterable[Mapping[str, Tensor]]
) -> dict[int, Tensor]:
    """E[x xᵀ] of what each layer is given, whose last input is the 1 of a bias; by its number."""
    seen: dict[int, Tensor] = {}

    def see(i: int, rows: Tensor) -> None:
        rows = rows.float()
        if getattr(layers[i].module, "bias", None) is not None:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        found = rows.T @ rows
        seen[i] = seen[i].add_(found) if i in seen else found

    gather.look(model, layers, batches if layers else (), see)
    return seen


def _solve(layer: Layer, products: Tensor, gone: NDArray[np.int64]) -> None:
    assert isinstance(layer.module, READERS)
    weight, bias = layer.weight, layer.module.bias
    matrix = layer.matrix(weight).double()
    channels, inputs = weight.shape[1], matrix.shape[1]
    is_gone = torch.zeros(len(products), dtype=torch.bool, device=products.device)
    for tap in range(0, inputs, channels):
        is_gone[tap + torch.from_numpy(gone).to(is_gone.device)] = True
    if bias is not None:
        matrix = torch.cat([matrix, bias.double()[:, None]], dim=1)
    own, stay = products.double(), ~is_gone
    damped = own[stay][:, stay]
    damped.diagonal().add_(DAMPING * damped.diagonal().mean().clamp_min(SMALLEST))
    missing = own[stay][:, is_gone] @ matrix[:, is_gone].T
    matrix[:, stay] += torch.linalg.solve(damped, missing).T
    if bias is not None:
        bias.copy_(matrix[:, -1])
    weight.copy_(layer.shaped(matrix[:, :inputs]))
