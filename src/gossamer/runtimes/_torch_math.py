"""ONNX operators that compute, as functions of torch tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as torch's own documents call it
from torch import Tensor

from gossamer.runtimes._torch_node import DTYPES, Kernel, Node, whole

SPATIAL = {1: "conv1d", 2: "conv2d", 3: "conv3d"}


def _divided(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


def _power(x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y).to(x.dtype)


def _all(op: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda *values: functools.reduce(op, values)


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _gelu_behind_bias(x: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x + bias)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


# operators that have neither attributes nor forms
PLAIN: dict[str, Kernel] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": _divided,
    "Pow": _power,
    "Sum": _all(torch.add),
    "Max": _all(torch.maximum),
    "Min": _all(torch.minimum),
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Exp": torch.exp,
    "Log": torch.log,
    "Erf": torch.erf,
    "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Relu": torch.relu,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "IsNaN": torch.isnan,
    "Softplus": F.softplus,
    "HardSwish": F.hardswish,
    "PRelu": _prelu,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Not": torch.logical_not,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "Less": torch.lt,
    "GreaterOrEqual": torch.ge,
    "LessOrEqual": torch.le,
    "Where": torch.where,
    "MatMul": torch.matmul,
    "Clip": _clip,
    "com.microsoft.BiasGelu": _gelu_behind_bias,
    "com.microsoft.Gelu": F.gelu,
}


def _windows(node: Node, count: int) -> dict[str, Any]:
    """Strides and dilations of a Conv, its groups, and the padding if both ends have the same."""
    if node.get("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise node.refused(f"auto_pad {node.get('auto_pad')}")
    return {
        "stride": tuple(node.get("strides") or [1] * count),
        "dilation": tuple(node.get("dilations") or [1] * count),
        "groups": int(node.get("group", 1)),
    }


def _pads(node: Node, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What stands before and behind each spatial axis."""
    pads = node.get("pads") or [0] * 2 * count
    return tuple(pads[:count]), tuple(pads[count:])


def _padded(x: Tensor, before: tuple[int, ...], behind: tuple[int, ...], value: float) -> Tensor:
    """`x` with `value` around its last axes."""
    ends = [end for pair in zip(before[::-1], behind[::-1], strict=True) for end in pair]
    return F.pad(x, ends, value=value)


def _convolution(node: Node) -> Kernel:
    """Conv of 1 to 3 spatial axes."""
    return functools.partial(_convolved, node)


def _convolved(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    count = weight.dim() - 2
    options, (before, behind) = _windows(node, count), _pads(node, count)
    if before != behind:
        x, before = _padded(x, before, behind, 0.0), (0,) * count
    convolve = getattr(F, SPATIAL[count])
    result: Tensor = convolve(x, weight, bias, padding=before, **options)
    return result


def _transposed_convolution(node: Node) -> Kernel:
    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        count = weight.dim() - 2
        options, (before, behind) = _windows(node, count), _pads(node, count)
        if before != behind or node.get("output_shape"):
            raise node.refused("padding that differs before and behind, or output_shape")
        convolve = getattr(F, "conv_transpose" + SPATIAL[count][-2:])
        extra = tuple(node.get("output_padding") or [0] * count)
        return convolve(x, weight, bias, padding=before, output_padding=extra, **options)  # type: ignore[no-any-return]

    return run


def _gemm(node: Node) -> Kernel:
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    first, second = bool(node.get("transA", 0)), bool(node.get("transB", 0))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        left, right = x.t() if first else x, weight.t() if second else weight
        if bias is None:
            product = left @ right
            return product if alpha == 1.0 else product * alpha
        return torch.addmm(bias, left, right, alpha=alpha, beta=beta)

    return run


def _pool(node: Node, *, average: bool) -> Kernel:
    sizes = tuple(node.get("kernel_shape"))
    count = len(sizes)
    before, behind = _pads(node, count)
    strides, is_open = tuple(node.get("strides") or [1] * count), bool(node.get("ceil_mode", 0))
    _windows(node, count)
    counts_pads = bool(node.get("count_include_pad", 0))
    if len(node.outputs) > 1 or (average and before != behind and not counts_pads):
        raise node.refused("a second output, or an average over unequal padding")
    if average and any(d != 1 for d in node.get("dilations") or []):
        raise node.refused("dilations")

    def run(x: Tensor) -> Tensor:
        own = before
        if before != behind:
            x, own = _padded(x, before, behind, 0.0 if average else -math.inf), (0,) * count
        if average:
            pool = getattr(F, f"avg_pool{count}d")
            return pool(x, sizes, strides, own, is_open, counts_pads)  # type: ignore[no-any-return]
        pool = getattr(F, f"max_pool{count}d")
        dilations = tuple(node.get("dilations") or [1] * count)
        return pool(x, sizes, strides, own, dilations, is_open)  # type: ignore[no-any-return]

    return run


def _global(reduce: Callable[..., Tensor]) -> Callable[[Node], Kernel]:
    return lambda _: lambda x: reduce(x, dim=tuple(range(2, x.dim())), keepdim=True)


def _reduction(reduce: Callable[..., Tensor]) -> Callable[[Node], Kernel]:
    """Over axes that are an attribute (before opset 18) or an input; none means all of them."""

    def bind(node: Node) -> Kernel:
        stated, keeps = node.get("axes"), bool(node.get("keepdims", 1))
        stays = bool(node.get("noop_with_empty_axes", 0))

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            over = whole(axes) or stated
            if not over and stays:
                return x
            return reduce(x, dim=tuple(over or range(x.dim())), keepdim=keeps)

        return run

    return bind


def _softmax(node: Node) -> Kernel:
    op = F.log_softmax if node.op == "LogSoftmax" else F.softmax
    return functools.partial(op, dim=int(node.get("axis", -1)))


def _layer_norm(node: Node) -> Kernel:
    axis, epsilon = int(node.get("axis", -1)), float(node.get("epsilon", 1e-5))
    if sum(1 for name in node.outputs if name) > 1:
        raise node.refused("outputs for mean and deviation")

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.layer_norm(x, x.shape[axis:], scale.expand(x.shape[axis:]), bias, epsilon)

    return run


def _batch_norm(node: Node) -> Kernel:
    epsilon = float(node.get("epsilon", 1e-5))
    if node.get("training_mode", 0):
        raise node.refused("in training mode")

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return F.batch_norm(x, mean, var, scale, bias, eps=epsilon)

    return run


def _attention(node: Node) -> Kernel:
    """MultiHeadAttention over `[batch, length, heads * width]`, as the fusions write it."""
    heads, scale = int(node.get("num_heads")), node.get("scale")
    if any(node.has(i) for i in (3, 4, 6, 7, 8, 9)) or node.get("unidirectional", 0):
        raise node.refused("with more than q, k, v and a bias of the scores")

    def split(x: Tensor) -> Tensor:
        if x.dim() == 4:  # heads are split already
            return x
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

    def run(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor | None) -> Tensor:
        mask = rest[2] if len(rest) > 2 else None
        out = F.scaled_dot_product_attention(
            split(q), split(k), split(v), attn_mask=mask, scale=scale or None
        )
        return out.transpose(1, 2).reshape(q.shape[0], out.shape[2], -1)

    return run


def _range(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def _arg(op: Callable[..., Tensor]) -> Callable[[Node], Kernel]:
    def bind(node: Node) -> Kernel:
        if node.get("select_last_index", 0):
            raise node.refused("select_last_index")
        return functools.partial(op, dim=int(node.get("axis", 0)),
                                 keepdim=bool(node.get("keepdims", 1)))  # fmt: skip

    return bind


def _cast(node: Node) -> Kernel:
    if int(node.get("to")) not in DTYPES:
        raise node.refused(f"to type {node.get('to')}")
    dtype = DTYPES[int(node.get("to"))]
    return lambda x: x.to(dtype)


def _mod(node: Node) -> Kernel:
    return torch.fmod if node.get("fmod", 0) else torch.remainder


BOUND: dict[str, Callable[[Node], Kernel]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MaxPool": functools.partial(_pool, average=False),
    "AveragePool": functools.partial(_pool, average=True),
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMin": _reduction(torch.amin),
    "ReduceL2": _reduction(functools.partial(torch.linalg.vector_norm, ord=2)),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "com.microsoft.MultiHeadAttention": _attention,
    "LeakyRelu": lambda n: lambda x: F.leaky_relu(x, float(n.get("alpha", 0.01))),
    "Elu": lambda n: lambda x: F.elu(x, float(n.get("alpha", 1.0))),
    "HardSigmoid": lambda n: (
        lambda x: torch.clamp(x * float(n.get("alpha", 0.2)) + float(n.get("beta", 0.5)), 0, 1)
    ),
    "Gelu": lambda n: lambda x: F.gelu(x, approximate=n.get("approximate", "none")),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "Cast": _cast,
    "Mod": _mod,
    "Range": lambda _: _range,
}
