"""What operators that only move numbers do to the ids along axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gossamer.train.prune.couplings import Couplings
from gossamer.train.prune.values import Call, Ids, Labels, Value, meet


def reshape(call: Call) -> list[Value]:
    """The same numbers with other axes."""
    value, given = call.known(call.args[0]), call.args[0].shape
    labels = _reshaped(call.couplings, value.labels, given, call.outs[0].shape)
    return [Value(labels, value.weight)]


def _reshaped(c: Couplings, labels: Labels, old: Sequence[int], new: Sequence[int]) -> Labels:
    found: list[Ids | None] = [None] * len(new)
    for olds, news in _segments(old, new):
        flat = _merged(c, [labels[i] for i in olds], [old[i] for i in olds])
        if flat is not None and news:
            axis, ids = _divided(c, flat, [new[j] for j in news])
            found[news[axis]] = ids
    return tuple(found)


def _segments(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The fewest axes that hold the same numbers before and after; none of length 1."""
    before = [i for i, n in enumerate(old) if n != 1]
    after = [j for j, n in enumerate(new) if n != 1]
    segments = []
    while before and after:
        left, right = [before.pop(0)], [after.pop(0)]
        while (a := math.prod(old[i] for i in left)) != (b := math.prod(new[j] for j in right)):
            (left if a < b else right).append((before if a < b else after).pop(0))
        segments.append((left, right))
    return segments


def _merged(c: Couplings, labels: Sequence[Ids | None], sizes: Sequence[int]) -> Ids | None:
    """The ids along one axis that is made of several, of which the shortest may shrink.

    In a weight `[…, heads, width]` that is the one of heads, whichever of both comes first.
    """
    known = [(i, ids) for i, ids in enumerate(labels) if ids is not None]
    if not known:
        return None
    axis, kept = min(known, key=lambda each: (c.is_loose(each[1]), len(each[1])))
    is_lost = c.is_loose(kept) and len(sizes) > 1  # beside it lies what has no ids: it stays
    for i, ids in known:
        if i != axis or is_lost:
            c.pin(ids, "two axes that could shrink become one")
    if is_lost:
        return None
    if any(not c.is_loose(ids) for i, ids in known if i != axis):
        c.heads.append(kept)
    shape = [-1 if i == axis else 1 for i in range(len(sizes))]
    return np.broadcast_to(kept.reshape(shape), tuple(sizes)).reshape(-1)


def _divided(c: Couplings, flat: Ids, sizes: Sequence[int]) -> tuple[int, Ids]:
    """Which of several axes that one is divided into has which ids."""
    shaped = flat.reshape(tuple(sizes))
    for axis in range(len(sizes)):
        ids = shaped[tuple(slice(None) if i == axis else 0 for i in range(len(sizes)))]
        shape = [-1 if i == axis else 1 for i in range(len(sizes))]
        if np.array_equal(np.broadcast_to(ids.reshape(shape), shaped.shape), shaped):
            return axis, ids
    rows = flat.reshape(sizes[0], -1)
    for column in range(1, rows.shape[1]):
        c.join(rows[:, 0], rows[:, column])
    c.heads.append(rows[:, 0])
    return 0, rows[:, 0]


def permute(call: Call) -> list[Value]:
    """The same axes in another order."""
    value = call.known(call.args[0])
    order = list(range(call.args[0].ndim))
    if len(call.args) == 2:
        order = [axis % len(order) for axis in call.args[1]]
    elif len(call.args) == 3:
        i, j = (axis % len(order) for axis in call.args[1:])
        order[i], order[j] = order[j], order[i]
    else:
        order.reverse()
    return [Value(tuple(value.labels[axis] for axis in order), value.weight)]


def cat(call: Call) -> list[Value]:
    """Tensors one after the other along an axis."""
    dim = (call.args[1] if len(call.args) > 1 else 0) % call.outs[0].ndim
    given = [t for t in call.args[0] if t.numel()]  # torch takes empty ones of any rank
    found: list[Ids | None] = []
    for axis in range(call.outs[0].ndim):
        ids = [call.known(t).labels[axis] for t in given if t.shape[axis] > 1 or axis == dim]
        if axis != dim:
            found.append(meet(call.couplings, ids))
        elif any(each is None for each in ids):
            found.append(meet(call.couplings, [None, *ids]))
        else:
            found.append(np.concatenate([each for each in ids if each is not None]))
    return [Value(tuple(found))]


def pad(call: Call) -> list[Value]:
    """Zeros before and after, which stay where they are."""
    labels = list(call.known(call.args[0]).labels)
    for i in range(len(call.args[1]) // 2):
        before, after = call.args[1][2 * i : 2 * i + 2]
        ids = labels[-1 - i]
        if ids is not None and (before or after):
            ends = [call.couplings.new(before), call.couplings.new(after)]
            for end in ends:
                call.couplings.pin(end, "forward pads it with zeros")
            labels[-1 - i] = np.concatenate([ends[0], ids, ends[1]])
    return [Value(tuple(labels))]


def expand(call: Call) -> list[Value]:
    """The same numbers again along axes of length 1: of those, as many as others ask for."""
    given, shape = call.args[0], call.outs[0].shape
    found = [None] * (len(shape) - given.ndim) + list(call.known(given).labels)
    sizes = [1] * (len(shape) - given.ndim) + list(given.shape)
    parts = zip(found, sizes, shape, strict=True)
    loose = call.couplings.loose
    return [Value(tuple(loose(n) if n > size else ids for ids, size, n in parts))]


def repeat(call: Call) -> list[Value]:
    """The same numbers several times."""
    value, times = call.known(call.args[0]).labels, call.args[1]
    labels = (*(None,) * (len(times) - len(value)), *value)
    return [
        Value(
            tuple(
                None if ids is None else np.tile(ids, n)
                for ids, n in zip(labels, times, strict=True)
            )
        )
    ]
