"""A graph that grows by drawn nodes and inputs, for `generated`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st
from numpy.typing import NDArray

Draw = Callable[[st.SearchStrategy], Any]
Shape = tuple[int, ...]
NAMINGS = ("numbered", "absent", "all alike", "like values")
OPSETS = (13, 17, 18, 21)


class Growing:
    """A graph to which steps add nodes; every value is float32 with a known shape."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.random = np.random.default_rng(self.one_of(range(2**16)))
        self.opset = self.one_of(OPSETS)
        self.nodes: list[ir.Node] = []
        self.values: dict[str, ir.Value | None] = {"": None}  # an input that is left out
        self.weights: dict[str, NDArray[np.generic]] = {}
        self.shapes: dict[str, Shape] = {}  # of activations, in the order in which they were made
        self.inputs: dict[str, tuple[NDArray[np.generic], ...]] = {}  # what each sample feeds
        self.outputs: list[str] = []  # beside the last activations
        self.has_function = False
        self.is_open_batch = self.one_of((False, True))
        self.are_inputs = self.one_of((False, False, True))  # initializers are, too
        self.naming = self.one_of(NAMINGS)
        self._count = 0

    def one_of(self, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def value(self, rank: int | None = None, fits: Callable[[Shape], bool] = lambda _: True) -> str:
        """A drawn activation; recent ones are likelier."""
        found = [v for v, s in self.shapes.items() if rank in (None, len(s)) and fits(s)]
        return self.one_of([*found, *found[-2:] * 2]) if found else ""

    def constant(self, array: object, dtype: type = np.float32) -> str:
        name, content = self.fresh("w"), np.asarray(array, dtype)
        tensor = ir.tensor(content, name=name)
        self.weights[name] = content
        self.values[name] = ir.Value(
            name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype)
        )
        return name

    def weight(self, *shape: int, fan_in: int) -> str:
        """Random numbers that keep the size of activations.

        Perhaps a weight that is there, or another one with the same content, or one that is stored
        in another type, by a node, or behind an Identity; perhaps with a channel of zeros.
        """
        alike = [w for w, a in self.weights.items() if a.shape == shape and a.dtype == np.float32]
        if alike and self.one_of((False, False, True)):
            found = self.one_of(alike)
            return found if self.one_of((True, False)) else self.constant(self.weights[found])
        content = self.random.standard_normal(shape) / math.sqrt(max(fan_in, 1))
        kind = self.one_of(("plain",) * 8 + ("zeros", "half", "double", "node", "same", "output"))
        if kind == "zeros" and shape:
            content[0] = 0
        if kind in {"half", "double"}:
            stored = self.constant(content, np.float16 if kind == "half" else np.float64)
            return self.hidden("Cast", stored, to=ir.DataType.FLOAT.value)
        if kind == "node":
            return self.hidden("Constant", value=ir.tensor(content.astype(np.float32)))
        name = self.constant(content)
        if kind == "output":
            self.outputs.append(name)
        return self.hidden("Identity", name) if kind == "same" else name

    def input(self, make: Callable[[], NDArray[np.generic]]) -> str:
        """An input of the model; `make` gives what one sample feeds."""
        name, samples = f"{self.fresh('in')} more", (make(), make())
        dtype = ir.DataType.from_numpy(samples[0].dtype)
        self.inputs[name] = samples
        self.values[name] = ir.Value(
            name=name, shape=ir.Shape(samples[0].shape), type=ir.TensorType(dtype)
        )
        return name

    def node(self, op: str, *inputs: str, shape: Shape, domain: str = "", **fields: object) -> str:
        out = self.fresh("v")
        made = ir.node(op, [self.values[v] for v in inputs], attributes=fields, domain=domain)
        made.outputs[0].name = out
        self.nodes.append(made)
        self.values[out] = made.outputs[0]
        self.shapes[out] = shape
        return out

    def hidden(self, op: str, *inputs: str, **fields: object) -> str:
        """A node whose value no other step may read: no float32, or of a size that varies."""
        out = self.node(op, *inputs, shape=(), **fields)
        del self.shapes[out]
        return out

    def several(
        self, op: str, *inputs: str, shapes: Sequence[Shape], **fields: object
    ) -> list[str]:
        """A node with several outputs."""
        names = [self.fresh("v") for _ in shapes]
        made = ir.node(
            op, [self.values[v] for v in inputs], attributes=fields, num_outputs=len(names)
        )
        self.nodes.append(made)
        for name, value, shape in zip(names, made.outputs, shapes, strict=True):
            value.name = name
            self.values[name] = value
            self.shapes[name] = shape
        return names

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"
