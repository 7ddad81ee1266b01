"""What is known of the tensors of a forward pass while it is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gossamer.train.prune.couplings import Couplings

Ids = NDArray[np.int64]
Labels = tuple[Ids | None, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of one tensor.

    Attributes:
        labels: Ids for each axis; None where nothing along it can be removed. Axes of length 1
            have none.
        weight: The path of the parameter that it is, its axes in whatever order.
    """

    labels: Labels
    weight: str | None = None


Known = Callable[[Tensor], Value]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator.

    Attributes:
        couplings: Takes what it binds together.
        known: Says what is known of a tensor.
        args: Its arguments, those by name at the end.
        outs: The tensors that it returned.
    """

    couplings: Couplings
    known: Known
    args: Sequence[Any]
    outs: Sequence[Tensor]


Rule = Callable[[Call], list[Value]]


def tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among the arguments of a call, those in lists too."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors(value)
    return found


def nothing(outs: Sequence[Tensor]) -> list[Value]:
    """Values along which nothing can be removed."""
    return [Value((None,) * out.ndim) for out in outs]


def meet(c: Couplings, found: Sequence[Ids | None]) -> Ids | None:
    """The ids of axes that are combined index by index; they stay where one has none."""
    named = [ids for ids in found if ids is not None]
    if len(named) < len(found):
        for ids in named:
            c.pin(ids, "it meets values that no weight makes")
        return None
    named = [ids for ids in named if not c.is_loose(ids)] or named
    for ids in named[1:]:
        c.join(named[0], ids)
    return named[0] if named else None


def broadcast(c: Couplings, known: Known, given: Sequence[Tensor], shape: Sequence[int]) -> Labels:
    """The labels of what has `shape` and is computed element by element from `given`."""
    labels: list[Ids | None] = []
    for axis in range(-len(shape), 0):
        full = [known(t).labels[axis] for t in given if t.ndim >= -axis and t.shape[axis] > 1]
        labels.append(meet(c, full))
    return tuple(labels)


def forget(c: Couplings, value: Value, dims: Iterable[int], reason: str) -> Labels:
    """The labels with those of some axes pinned and forgotten."""
    labels = list(value.labels)
    for dim in dims:
        c.pin(labels[dim], reason)
        labels[dim] = None
    return tuple(labels)


def unknown(call: Call, name: str) -> list[Value]:
    """Nothing, of what an operator returns of which nobody knows what it does: its inputs stay."""
    for tensor in tensors(call.args):
        for ids in call.known(tensor).labels:
            call.couplings.pin(ids, f"{name} reads it")
    return nothing(call.outs)
