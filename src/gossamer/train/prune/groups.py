"""Dependency groups: which channels, neurons and heads of a model can be removed, and with what.

One forward pass is watched operator by operator (torch's dispatch mode), so whatever `forward` does
in Python does not matter; the operators themselves say which rows, columns and numbers belong
together (Fang et al. 2023, https://arxiv.org/abs/2301.12900, for the idea of the groups).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gossamer.errors import TrainingError
from gossamer.train.prune.couplings import Couplings
from gossamer.train.prune.rules import follow
from gossamer.train.prune.values import Call, Value, tensors

Kind = Literal["channels", "neurons", "heads"]
Axis = tuple[str, int]  # of a parameter or buffer: its path and the number of the axis


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Elements that are alike: each can be removed without the others.

    Attributes:
        kind: `channels` of convolutions over two or more axes, `heads` of attention, or
            `neurons`.
        is_shared: Whether values of several branches are added along them, as beside a residual
            connection.
        members: What is removed with them, for each axis of a parameter or buffer: indices
            `[elements, indices of one element]`.
        readers: Axes of the weights that read them.
        makers: Paths of the weights that make them.
    """

    kind: Kind
    is_shared: bool
    members: Mapping[Axis, NDArray[np.int64]]
    makers: tuple[str, ...]
    readers: tuple[Axis, ...]

    def __len__(self) -> int:
        return len(next(iter(self.members.values())))

    @property
    def name(self) -> str:
        """Of the first layer that makes them."""
        return self.makers[0].rpartition(".")[0]


@dataclass(frozen=True, eq=False)
class Coupled:
    """What can be removed from a model, and what not.

    Attributes:
        groups: In the order in which `forward` meets them.
        kept: Axes of weights along which nothing can be removed, with the reason.
        macs: Multiply-accumulates by the path of the weight that is multiplied, in the one pass.
    """

    groups: tuple[Group, ...]
    kept: Mapping[Axis, str]
    macs: Mapping[str, int]


def coupled(model: nn.Module, inputs: Mapping[str, Tensor]) -> Coupled:
    """The dependency groups of a model in eval mode; the model is only read.

    Args:
        model: Whatever computes with torch's operators.
        inputs: One example by the names of `forward`'s parameters; at least two samples, so that
            the axis of samples is seen to be one.

    Raises:
        TrainingError: `forward` fails on the example.
    """
    watch = _Watch(model)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), watch:
            output = model(**inputs)
    except Exception as error:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in inputs.items())
        raise TrainingError(
            f"a model whose forward takes {shapes}", f"{type(error).__name__}: {error}"
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
    watch.end(output)
    return watch.result()


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call] # of torch
    """Follows ids of indices through every operator that runs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.couplings = Couplings()
        self.sites: list[tuple[Axis, NDArray[np.int64]]] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._known: dict[int, Value] = {}
        self._alive: list[Tensor] = []  # or an id would be given away again
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, tensor in named.items():
            labels = tuple(self.couplings.new(n) if n > 1 else None for n in tensor.shape)
            self.sites += [((name, i), ids) for i, ids in enumerate(labels) if ids is not None]
            self.shapes[name] = tuple(tensor.shape)
            self._learn(tensor, Value(labels, weight=name))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """What the operator returns; it is noted on the way."""
        out = func(*args, **(kwargs or {}))
        outs = tensors([out])
        values = [*args, *(v for v in (kwargs or {}).values() if isinstance(v, Tensor))]
        found = follow(func, Call(self.couplings, self._value, values, outs))
        for tensor, value in zip(outs, found, strict=False):
            self._learn(tensor, value)
        return out

    def end(self, output: object) -> None:
        """Pin what leaves the model."""
        values = output.values() if isinstance(output, Mapping) else [output]
        for tensor in tensors(values):
            for ids in self._value(tensor).labels:
                self.couplings.pin(ids, "it is an output of the model")

    def result(self) -> Coupled:
        """The groups, from all that was noted."""
        root = self.couplings.roots()
        free = self.couplings.removable(root)
        heads = self.couplings.flags(root, self.couplings.heads)
        sums = self.couplings.flags(root, self.couplings.sums)
        elements: dict[int, dict[Axis, list[int]]] = {}
        for axis, ids in self.sites:
            for index, each in enumerate(root[ids]):
                if free[each]:
                    elements.setdefault(int(each), {}).setdefault(axis, []).append(index)
        alike: dict[tuple[bool, bool, object], list[dict[Axis, list[int]]]] = {}
        for each, members in elements.items():
            sizes = tuple(sorted((axis, len(indices)) for axis, indices in members.items()))
            alike.setdefault((bool(heads[each]), bool(sums[each]), sizes), []).append(members)
        order = {name: i for i, name in enumerate(self.couplings.macs)}
        groups = [self._group(*key[:2], alike[key]) for key in alike]
        groups.sort(key=lambda group: order[group.makers[0]])
        return Coupled(tuple(groups), self._kept(root), dict(self.couplings.macs))

    def _group(
        self, is_head: bool, is_shared: bool, elements: list[dict[Axis, list[int]]]
    ) -> Group:
        axes = {axis: ids for axis, ids in self.sites if axis in elements[0]}
        makers = [name for (name, _), ids in axes.items() if self.couplings.makes(ids)]
        readers = [axis for axis, ids in axes.items() if self.couplings.reads(ids)]
        read = [name for name, _ in readers]
        is_spatial = any(len(self.shapes[name]) > 3 for name in (*makers, *read))
        kind: Kind = "heads" if is_head else "channels" if is_spatial else "neurons"
        order = list(self.couplings.macs)
        return Group(
            kind=kind,
            is_shared=is_shared,
            members={axis: np.array([each[axis] for each in elements]) for axis in axes},
            makers=tuple(sorted(makers, key=order.index)),
            readers=tuple(sorted(readers, key=lambda axis: order.index(axis[0]))),
        )

    def _kept(self, root: NDArray[np.int64]) -> dict[Axis, str]:
        reasons = self.couplings.reasons(root)
        kept = {}
        for (name, i), ids in self.sites:
            found = [reasons[each] for each in np.unique(root[ids]).tolist() if each in reasons]
            if i < 2 and found and name in self.couplings.macs:
                kept[name, i] = found[0]
        return kept

    def _value(self, tensor: Tensor) -> Value:
        return self._known.get(id(tensor)) or Value((None,) * tensor.ndim)

    def _learn(self, tensor: Tensor, value: Value) -> None:
        self._alive.append(tensor)
        self._known[id(tensor)] = value
