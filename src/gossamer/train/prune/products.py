"""What products with weights do to the ids along axes: they make them, and they read them."""

from __future__ import annotations

from torch import Tensor

from gossamer.train.prune.couplings import Couplings
from gossamer.train.prune.values import Call, Ids, Value, broadcast, forget, meet, nothing, unknown


def product(call: Call) -> list[Value]:
    """Matrix products; with three tensors the first is added to the product of the others."""
    *added, left, right = (a for a in call.args[:3] if isinstance(a, Tensor))
    a, b = call.known(left), call.known(right)
    _contract(call.couplings, a, a.labels[-1], b, b.labels[-2])
    batch = [] if left.ndim == 2 else [meet(call.couplings, [a.labels[0], b.labels[0]])]
    for weight, ids in ((a.weight, a.labels[-2]), (b.weight, b.labels[-1])):
        if weight is not None:
            call.couplings.made(ids)
            call.couplings.use(weight, left.numel() * right.shape[-1])
    labels = (*batch, a.labels[-2], b.labels[-1])
    if not added:
        return [Value(labels)]
    bias = broadcast(call.couplings, call.known, added, call.outs[0].shape)
    shape = added[0].shape
    wide = [i >= -len(shape) and shape[i] > 1 for i in range(-call.outs[0].ndim, 0)]
    both = zip(labels, bias, wide, strict=True)
    return [Value(tuple(meet(call.couplings, [x, y]) if is_wide else x for x, y, is_wide in both))]


def _contract(c: Couplings, a: Value, inner: Ids | None, b: Value, other: Ids | None) -> None:
    """Join the ids along which products are added; one side has to be a weight."""
    if (a.weight is None) == (b.weight is None):
        c.pin(inner, "values are multiplied with values")
        c.pin(other, "values are multiplied with values")
        return
    weight, values = (other, inner) if a.weight is None else (inner, other)
    if weight is not None and values is not None:
        c.join(weight, values)
        c.read(weight)
    else:
        c.pin(values, "a weight of fixed width reads it")


def convolution(call: Call) -> list[Value]:
    """Convolutions: plain, grouped, depthwise, and transposed ones without groups."""
    x, weight, bias, *_, transposed, _, groups = call.args
    given, taps = call.known(x), call.known(weight)
    if taps.weight is None or (transposed and groups > 1):
        return unknown(call, "a convolution of this kind")
    ins, rows = given.labels[1], taps.labels[0]
    if transposed:
        _contract(call.couplings, given, ins, taps, rows)
        made = taps.labels[1]
    elif weight.shape[1] == 1 and groups > 1:
        made = _depthwise(call.couplings, ins, rows, groups)
    else:
        made = _grouped(call.couplings, rows, groups)
        _contract(
            call.couplings,
            given,
            _grouped(call.couplings, ins, groups, short=True),
            taps,
            taps.labels[1],
        )
    call.couplings.made(made)
    call.couplings.use(taps.weight, (x if transposed else call.outs[0]).numel() * weight[0].numel())
    if bias is not None and made is not None:
        made = meet(call.couplings, [made, call.known(bias).labels[0]])
    # along the other axes forward's own arithmetic has to stay as it is
    rest = forget(call.couplings, given, range(2, x.ndim), "a convolution runs along it")[2:]
    return [Value((given.labels[0], made, *rest))]


def _depthwise(c: Couplings, ins: Ids | None, rows: Ids | None, groups: int) -> Ids | None:
    """Each input channel makes its own outputs."""
    if ins is None or rows is None:
        c.pin(ins, "a weight of fixed width reads it")
        c.pin(rows, "it belongs to an input of the model")
        return None
    each = rows.reshape(groups, -1)
    for column in each.T:
        c.join(ins, column)
    return rows


def _grouped(c: Couplings, ids: Ids | None, groups: int, *, short: bool = False) -> Ids | None:
    """Channels of a grouped convolution: what one group loses, the others lose too.

    With `short`, the ids of one group only, which is what the weight has an axis for.
    """
    if ids is None or groups == 1:
        return ids
    each = ids.reshape(groups, -1)
    for row in each[1:]:
        c.join(each[0], row)
    return each[0] if short else ids


def attention(call: Call) -> list[Value]:
    """Fused attention over `[batch, heads, tokens, width]`."""
    found = [call.known(t) for t in call.args[:3]]
    labels = [forget(call.couplings, v, [0, 2, 3], "attention runs along it") for v in found]
    heads = meet(call.couplings, [each[1] for each in labels if call.args[0].shape[1] > 1])
    return [Value((None, heads, None, None)), *nothing(call.outs[1:])]


def embedding(call: Call) -> list[Value]:
    """Rows of a table."""
    weight, indices = call.args[:2]
    ids = call.known(weight).labels[1]
    call.couplings.made(ids)
    call.couplings.use(call.known(weight).weight, 0)
    return [Value((*(None,) * indices.ndim, ids))]
