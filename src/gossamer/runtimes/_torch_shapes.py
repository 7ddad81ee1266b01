"""ONNX operators that move numbers or read shapes, as functions of torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - as torch's own documents call it
from torch import Tensor

from gossamer.runtimes._torch_node import Kernel, Node, whole

LAST = 2**31 - 1  # an end so far below zero stands in front of the first element


def _shape(node: Node) -> Kernel:
    start, end = node.get("start", 0), node.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _reshape(node: Node) -> Kernel:
    keeps_zero = bool(node.get("allowzero", 0))

    def run(x: Tensor, shape: Tensor) -> Tensor:
        sizes: list[int] = shape.tolist()
        if not keeps_zero:
            sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
        return x.reshape(sizes)

    return run


def _flatten(node: Node) -> Kernel:
    axis = int(node.get("axis", 1))

    def run(x: Tensor) -> Tensor:
        split = axis % (x.dim() + 1) if axis < 0 else axis
        return x.reshape(x.shape[:split].numel(), -1)

    return run


def _transpose(node: Node) -> Kernel:
    order = node.get("perm")
    return lambda x: x.permute(tuple(order or reversed(range(x.dim()))))


def _squeeze(node: Node) -> Kernel:
    stated = node.get("axes")

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        out = whole(axes) or stated
        return x.squeeze() if not out else x.squeeze(tuple(out))

    return run


def _unsqueeze(node: Node) -> Kernel:
    stated = node.get("axes")

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        new = whole(axes) or stated or []
        rank = x.dim() + len(new)
        for axis in sorted(a % rank for a in new):
            x = x.unsqueeze(axis)
        return x

    return run


def _sliced(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    begin, end = whole(starts) or [], whole(ends) or []
    over = whole(axes) or list(range(len(begin)))
    by = whole(steps) or [1] * len(begin)
    taken = [slice(None)] * x.dim()
    for first, last, axis, step in zip(begin, end, over, by, strict=True):
        if step > 0:
            taken[axis] = slice(first, last, step)
        else:  # torch has no views that go backwards
            rows = range(x.shape[axis])[slice(first, last if last > -LAST else None, step)]
            x = x.index_select(axis, torch.tensor(list(rows), dtype=torch.int64))
    return x[tuple(taken)]


def _gather(node: Node) -> Kernel:
    axis = int(node.get("axis", 0))

    def run(x: Tensor, indices: Tensor) -> Tensor:
        if axis == 0 and x.dim() == 2 and indices.dim() and node.constant(0) is not None:
            return F.embedding(_counted(indices, len(x)), x)
        if indices.dim() == 0:
            return x.select(axis, int(indices))
        flat = _counted(indices.reshape(-1), x.shape[axis])
        at = axis % x.dim()
        return x.index_select(at, flat).reshape(*x.shape[:at], *indices.shape, *x.shape[at + 1 :])

    return run


def _counted(indices: Tensor, size: int) -> Tensor:
    """Indices of which those below zero count from the end."""
    return torch.where(indices < 0, indices + size, indices)


def _gather_elements(node: Node) -> Kernel:
    axis = int(node.get("axis", 0))
    return lambda x, indices: torch.gather(x, axis, _counted(indices, x.shape[axis]))


def _gather_nd(node: Node) -> Kernel:
    if node.get("batch_dims", 0):
        raise node.refused("batch_dims")
    return lambda x, indices: x[tuple(indices.unbind(-1))]


def _expanded(x: Tensor, shape: Tensor) -> Tensor:
    wanted: list[int] = shape.tolist()
    rank = max(x.dim(), len(wanted))
    own, new = [1] * (rank - x.dim()) + [*x.shape], [1] * (rank - len(wanted)) + wanted
    return x.expand([a if n == 1 else n for a, n in zip(own, new, strict=True)])


def _pad(node: Node) -> Kernel:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        node.get("mode", "constant")
    )
    if mode is None or (mode != "constant" and node.has(3)):
        raise node.refused(f"mode {node.get('mode')}")

    def run(
        x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
    ) -> Tensor:
        ends, over = pads.tolist(), whole(axes) or list(range(x.dim()))
        both = {a % x.dim(): (ends[i], ends[i + len(over)]) for i, a in enumerate(over)}
        last = max((a for a, pair in both.items() if any(pair)), default=None)
        first = min((a for a, pair in both.items() if any(pair)), default=None)
        if last is None or first is None:
            return x
        order = [end for a in reversed(range(first, x.dim())) for end in both.get(a, (0, 0))]
        if mode == "constant":
            return F.pad(x, order, value=0 if value is None else value.item())
        return F.pad(x, order, mode=mode)

    return run


def _split(node: Node) -> Kernel:
    axis, stated = int(node.get("axis", 0)), node.get("split")
    count = int(node.get("num_outputs") or len(node.outputs))

    def run(x: Tensor, sizes: Tensor | None = None) -> Sequence[Tensor]:
        parts = whole(sizes) or stated
        return torch.split(x, parts or -(-x.shape[axis] // count), axis)

    return run


def _filled(node: Node) -> Kernel:
    value = node.get("value")
    filling = torch.zeros(1) if value is None else value.reshape(1)
    return lambda shape: filling.expand(shape.tolist()).clone()


def _constant(node: Node) -> Kernel:
    for name, dtype in (("value_float", torch.float32), ("value_int", torch.int64),
                        ("value_floats", torch.float32), ("value_ints", torch.int64)):  # fmt: skip
        if node.get(name) is not None:
            made = torch.tensor(node.get(name), dtype=dtype)
            return lambda: made
    given = node.get("value")
    if given is None:
        raise node.refused("of another kind than numbers")
    return lambda: given


def _trilu(node: Node) -> Kernel:
    op = torch.triu if node.get("upper", 1) else torch.tril
    return lambda x, k=None: op(x, 0 if k is None else int(k))


def _resize(node: Node) -> Kernel:
    """Nearest neighbours by whole factors, which is what image networks enlarge by."""
    stated = (node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel"))
    rounding = node.get("nearest_mode", "round_prefer_floor")
    is_plain = stated[0] == "nearest" and (
        stated[1] == "half_pixel" or (stated[1] == "asymmetric" and rounding == "floor")
    )
    scales = whole_factors(node.constant(2))
    if not is_plain or scales is None or node.has(3):
        raise node.refused("other than nearest neighbours by whole factors")

    def run(x: Tensor, *_: Tensor | None) -> Tensor:
        return F.interpolate(x, scale_factor=[float(n) for n in scales[2:]], mode="nearest")

    return run


def whole_factors(scales: Tensor | None) -> list[int] | None:
    """The factors of the axes, if they are whole and leave batch and channels alone."""
    if scales is None or scales.numel() < 3:
        return None
    found = scales.tolist()
    is_whole = all(f == int(f) and f >= 1 for f in found) and found[:2] == [1, 1]
    return [int(f) for f in found] if is_whole else None


def _cumulated(node: Node) -> Kernel:
    if node.get("exclusive", 0) or node.get("reverse", 0):
        raise node.refused("exclusive or reversed")
    return lambda x, axis: torch.cumsum(x, int(axis), dtype=x.dtype)


def _joined(node: Node) -> Kernel:
    axis = int(node.get("axis", 0))
    return lambda *values: torch.cat(values, axis)


def _tiled(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(repeats.tolist())


def _same(x: Tensor, *_: Tensor | None) -> Tensor:
    return x


BOUND: dict[str, Callable[[Node], Kernel]] = {
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": lambda _: _sliced,
    "Pad": _pad,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Concat": _joined,
    "Split": _split,
    "Expand": lambda _: _expanded,
    "Trilu": _trilu,
    "Tile": lambda _: _tiled,
    "ConstantOfShape": _filled,
    "Constant": _constant,
    "Resize": _resize,
    "CumSum": _cumulated,
    "Identity": lambda _: _same,
    "Size": lambda _: lambda x: torch.tensor(x.numel(), dtype=torch.int64),
    "Dropout": lambda _: _same,
}
