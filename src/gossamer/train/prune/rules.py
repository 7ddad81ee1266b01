"""What each operator of torch does to the ids along the axes of its tensors.

A rule never guesses: what it does not know for sure it pins.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossamer.train.prune.products import attention, convolution, embedding, product
from gossamer.train.prune.shapes import cat, expand, pad, permute, repeat, reshape
from gossamer.train.prune.values import (
    Call,
    Rule,
    Value,
    broadcast,
    forget,
    meet,
    nothing,
    tensors,
    unknown,
)


def follow(op: Any, call: Call) -> list[Value]:
    """What is known of the outputs of one call of an operator."""
    rule = RULES.get(op.overloadpacket)
    if rule is not None:
        return rule(call)
    if torch.Tag.pointwise in op.tags:
        return _elementwise(call)
    return unknown(call, str(op.overloadpacket))


def _same(call: Call) -> list[Value]:
    return [call.known(call.args[0]) for _ in call.outs]


def _elementwise(call: Call) -> list[Value]:
    return [Value(broadcast(call.couplings, call.known, tensors(call.args), call.outs[0].shape))]


def _sum(call: Call) -> list[Value]:
    """Element by element; where values of several branches meet, that is noted."""
    branches = [
        call.known(t) for t in tensors(call.args) if t.ndim > 1 and call.known(t).weight is None
    ]
    for first, second in itertools.pairwise(branches):
        for a, b in zip(reversed(first.labels), reversed(second.labels), strict=False):
            if a is None or b is None or np.array_equal(a, b):
                continue
            if not (call.couplings.is_loose(a) or call.couplings.is_loose(b)):
                call.couplings.sums.append(a)
    return _elementwise(call)


def _slice(call: Call) -> list[Value]:
    value, dim = call.known(call.args[0]), call.args[1] if len(call.args) > 1 else 0
    if call.outs[0].shape == call.args[0].shape:
        return [value]
    return [Value(forget(call.couplings, value, [dim], "forward cuts it at fixed places"))]


def _select(call: Call) -> list[Value]:
    dim = call.args[1] % call.args[0].ndim
    labels = forget(call.couplings, call.known(call.args[0]), [dim], "forward takes one of it")
    return [Value(labels[:dim] + labels[dim + 1 :])]


def _split(call: Call) -> list[Value]:
    value, dim = call.known(call.args[0]), call.args[2] if len(call.args) > 2 else 0
    labels = forget(call.couplings, value, [dim], "forward cuts it at fixed places")
    return [Value(labels) for _ in call.outs]


def _index_select(call: Call) -> list[Value]:
    value, dim = call.known(call.args[0]), call.args[1]
    return [Value(forget(call.couplings, value, [dim], "forward picks from it"))]


def _gather(call: Call) -> list[Value]:
    """Numbers picked along one axis; along the others the indices say nothing."""
    given, dim, index = call.args[:3]
    part = [
        i for i in range(given.ndim) if i == dim % given.ndim or given.shape[i] != index.shape[i]
    ]
    return [Value(forget(call.couplings, call.known(given), part, "forward picks from it"))]


def _reduce(call: Call) -> list[Value]:
    given, value = call.args[0], call.known(call.args[0])
    listed = call.args[1] if len(call.args) > 1 and call.args[1] is not None else range(given.ndim)
    wanted = [listed] if isinstance(listed, int) else listed
    dims = sorted({dim % given.ndim for dim in wanted}) or list(range(given.ndim))
    labels = forget(call.couplings, value, dims, "forward reduces it")
    if call.outs[0].ndim < given.ndim:
        labels = tuple(ids for axis, ids in enumerate(labels) if axis not in dims)
    return [Value(labels) for _ in call.outs]


def _softmax(call: Call) -> list[Value]:
    return [
        Value(
            forget(
                call.couplings, call.known(call.args[0]), [call.args[1]], "a softmax runs along it"
            )
        )
    ]


def _spatial(call: Call) -> list[Value]:
    """Pooling and its like, which work inside of channels."""
    value = call.known(call.args[0])
    rest = range(2, call.args[0].ndim)
    return [Value(forget(call.couplings, value, rest, "it is pooled")) for _ in call.outs]


def _batch_norm(call: Call) -> list[Value]:
    labels = list(call.known(call.args[0]).labels)
    vectors = [call.known(t).labels[0] for t in call.args[1:5] if isinstance(t, Tensor)]
    if call.args[0].shape[1] > 1:
        labels[1] = meet(call.couplings, [labels[1], *vectors])
    return [Value(tuple(labels)), *nothing(call.outs[1:])]


def _layer_norm(call: Call) -> list[Value]:
    dims = range(call.args[0].ndim - len(call.args[1]), call.args[0].ndim)
    labels = forget(call.couplings, call.known(call.args[0]), dims, "a normalization runs along it")
    return [Value(labels), *nothing(call.outs[1:])]


_ATEN = torch.ops.aten
RULES: dict[Any, Rule] = {
    **dict.fromkeys(
        (_ATEN.clone, _ATEN._to_copy, _ATEN.detach, _ATEN.alias, _ATEN.lift_fresh), _same
    ),
    **dict.fromkeys(
        (_ATEN.view, _ATEN._unsafe_view, _ATEN.reshape, _ATEN._reshape_alias, _ATEN.unsqueeze),
        reshape,
    ),
    _ATEN.squeeze: reshape,
    **dict.fromkeys((_ATEN.permute, _ATEN.transpose, _ATEN.t), permute),
    # element by element, though torch does not say so of them
    **dict.fromkeys(
        (
            _ATEN.hardswish,
            _ATEN.hardswish_,
            _ATEN.masked_fill_,
            _ATEN._prelu_kernel,
        ),
        _elementwise,
    ),
    **dict.fromkeys((_ATEN.add, _ATEN.add_), _sum),
    _ATEN.slice: _slice,
    _ATEN.select: _select,
    **dict.fromkeys((_ATEN.split, _ATEN.split_with_sizes), _split),
    _ATEN.cat: cat,
    _ATEN.expand: expand,
    _ATEN.repeat: repeat,
    _ATEN.gather: _gather,
    _ATEN.index_select: _index_select,
    _ATEN.constant_pad_nd: pad,
    **dict.fromkeys((_ATEN.mean, _ATEN.sum, _ATEN.amax), _reduce),
    **dict.fromkeys((_ATEN._softmax, _ATEN._log_softmax, _ATEN._safe_softmax), _softmax),
    **dict.fromkeys(
        (
            _ATEN.max_pool2d_with_indices,
            _ATEN.avg_pool2d,
            _ATEN._adaptive_avg_pool2d,
            _ATEN.upsample_nearest2d,
            _ATEN.upsample_bilinear2d,
        ),
        _spatial,
    ),
    **dict.fromkeys(
        (_ATEN.native_batch_norm, _ATEN._native_batch_norm_legit_no_training), _batch_norm
    ),
    _ATEN.native_layer_norm: _layer_norm,
    _ATEN.embedding: embedding,
    **dict.fromkeys((_ATEN.mm, _ATEN.bmm, _ATEN.addmm, _ATEN.baddbmm), product),
    _ATEN.convolution: convolution,
    **dict.fromkeys(
        (
            _ATEN._scaled_dot_product_flash_attention_for_cpu,
            _ATEN._scaled_dot_product_efficient_attention,
            _ATEN._scaled_dot_product_flash_attention,
        ),
        attention,
    ),
}
