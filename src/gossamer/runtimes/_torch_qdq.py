"""QuantizeLinear and DequantizeLinear as functions of torch tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gossamer.runtimes._torch_node import Kernel, Node

LIMITS = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int32: (-(2**31), 2**31 - 1)}


def quantize(node: Node) -> Kernel:
    """To the nearest number, halves to the even one."""
    _check(node)
    axis, scale, zero = int(node.get("axis", 1)), node.constant(1), node.constant(2)
    if scale is not None and zero is not None and scale.numel() == 1:
        return _quantized_by(scale.item(), zero)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        out = (x / _along(x, scale, axis)).round_()
        if zero is not None:
            out += _along(x, zero, axis)
        kind = torch.uint8 if zero is None else zero.dtype
        return out.clamp_(*LIMITS[kind]).to(kind)

    return run


def _quantized_by(scale: float, zero: Tensor) -> Kernel:
    """With numbers that are known, which saves most of the time of small tensors."""
    offset, kind = zero.item(), zero.dtype
    low, high = (limit - offset for limit in LIMITS[kind])

    def run(x: Tensor, *_: Tensor) -> Tensor:
        out = (x / scale).round_().clamp_(low, high)
        return (out.add_(offset) if offset else out).to(kind)

    return run


def dequantize(node: Node) -> Kernel:
    _check(node)
    axis = int(node.get("axis", 1))

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        if zero is None:
            return x.to(scale.dtype) * _along(x, scale, axis)
        return (x.to(scale.dtype) - _along(x, zero, axis)) * _along(x, scale, axis)

    return run


def _check(node: Node) -> None:
    if node.get("block_size", 0):
        raise node.refused("in blocks")


def _along(x: Tensor, numbers: Tensor, axis: int) -> Tensor:
    """Numbers of the channels in the shape that meets `x`."""
    if numbers.numel() == 1:
        return numbers.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return numbers.reshape(shape)


BOUND: dict[str, Callable[[Node], Kernel]] = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
}
