"""An ONNX graph as a list of calls of torch's kernels, made once and run many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from gossamer.errors import BuildError
from gossamer.runtimes import _torch_math, _torch_onednn, _torch_qdq, _torch_shapes
from gossamer.runtimes._torch_node import Kernel, Node, from_numpy

OLDEST = 13  # opset from which on axes of Squeeze and the like are inputs
BINDINGS: dict[str, Callable[[Node], Kernel]] = {
    **_torch_math.BOUND,
    **_torch_shapes.BOUND,
    **_torch_qdq.BOUND,
}
Scope = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One step.

    Attributes:
        kernel: What is called with the inputs, or with the scope where `reads_scope`.
        inputs: Names; "" is None.
        outputs: Names.
        ends: Values that nobody reads after this.
        reads_scope: Whether the kernel is a branch or a loop, which sees every value.
    """

    kernel: Kernel
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ends: tuple[str, ...] = ()
    reads_scope: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What is called, in order, and what is the same in every run."""

    calls: tuple[Call, ...]
    constants: Mapping[str, Tensor]
    outputs: tuple[str, ...]

    def run(self, scope: Scope) -> list[Tensor]:
        """The outputs; `scope` holds the inputs, and takes in every value in between."""
        for call in self.calls:
            if call.reads_scope:
                made = call.kernel(scope)
            else:
                made = call.kernel(*[scope[name] if name else None for name in call.inputs])
            if isinstance(made, Tensor):
                scope[call.outputs[0]] = made
            else:
                scope.update(zip(call.outputs, made, strict=False))
            for name in call.ends:
                del scope[name]
        return [scope[name] for name in self.outputs]


def read(model: ir.Model) -> Program:
    """The program of a model; what does not depend on its inputs is computed here.

    Raises:
        BuildError: An operator, or a form of one, that torch is not called for.
    """
    opset = model.opset_imports.get("", 0)
    if opset < OLDEST:
        raise BuildError(
            f"an ONNX file of opset {OLDEST} or newer for torch-cpu",
            f"opset {opset}",
            "gossamer compress lifts older files by itself.",
        )
    if model.functions:
        raise BuildError(
            "an ONNX file without functions of its own for torch-cpu",
            f"{len(model.functions)} functions",
            "Inline them, as onnx.inliner does.",
        )
    with torch.inference_mode():
        return _read_graph(model.graph, {})


def _read_graph(graph: ir.Graph, outer: Mapping[str, Tensor]) -> Program:
    known = dict(outer)
    known.update({n: _tensor(v.const_value, n) for n, v in graph.initializers.items()})
    for v in graph.inputs:  # those with a default may be fed
        known.pop(v.name or "", None)
    nodes = [_node(n, known) for n in graph]
    fused = _torch_onednn.fuse(nodes, known, {v.name or "" for v in graph.outputs})
    calls = []
    for each in fused:
        if isinstance(each, _torch_onednn.Fused):
            calls.append(Call(kernel=each.kernel, inputs=each.inputs, outputs=each.outputs))
            continue
        constants = tuple(known.get(name) for name in each.inputs)
        call = _bound(_with(each, constants), known)
        if call.reads_scope or not all(n in known or not n for n in each.inputs):
            calls.append(call)
            continue
        program = Program(calls=(call,), constants={}, outputs=tuple(n for n in each.outputs if n))
        known.update(zip(program.outputs, program.run(dict(known)), strict=True))
    outputs = tuple(v.name or "" for v in graph.outputs)
    return _trimmed(calls, known, outputs)


def _trimmed(calls: Sequence[Call], known: Mapping[str, Tensor], outputs: Sequence[str]) -> Program:
    """The program with the constants it reads, that lets go of each value after its last use."""
    read_by_bodies = any(call.reads_scope for call in calls)
    last: dict[str, int] = {}
    for i, call in enumerate(calls):
        last.update(dict.fromkeys((*call.outputs, *call.inputs), i))
    needed = set(last) | set(outputs)
    constants = {n: t for n, t in known.items() if n in needed or read_by_bodies}
    if not read_by_bodies:
        ends: list[list[str]] = [[] for _ in calls]
        made = {name for call in calls for name in call.outputs if name}
        for name, i in last.items():
            if name in made and name not in outputs:
                ends[i].append(name)
        calls = [
            Call(kernel=c.kernel, inputs=c.inputs, outputs=c.outputs, ends=tuple(e))
            for c, e in zip(calls, ends, strict=True)
        ]
    return Program(calls=tuple(calls), constants=constants, outputs=tuple(outputs))


def _node(node: ir.Node, known: Mapping[str, Tensor]) -> Node:
    inputs = tuple("" if v is None else v.name or "" for v in node.inputs)
    return Node(
        op=node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}",
        name=node.name or (node.outputs[0].name or "" if node.outputs else ""),
        attributes={name: _attribute(a) for name, a in node.attributes.items()},
        constants=tuple(known.get(name) for name in inputs),
        inputs=inputs,
        outputs=tuple(v.name or "" for v in node.outputs),
    )


def _with(node: Node, constants: tuple[Tensor | None, ...]) -> Node:
    """The node with what is known by now."""
    return Node(op=node.op, name=node.name, attributes=node.attributes, constants=constants,
                inputs=node.inputs, outputs=node.outputs)  # fmt: skip


def _attribute(attribute: ir.Attr) -> Any:
    value = attribute.value
    if isinstance(value, ir.TensorProtocol):
        return _tensor(value, attribute.name)
    return list(value) if isinstance(value, tuple) else value


def _tensor(value: ir.TensorProtocol | None, name: str) -> Tensor:
    if value is None:
        raise BuildError("initializers with numbers", f"{name!r} without any", "Is it complete?")
    if value.dtype == ir.DataType.STRING or value.dtype.bitwidth < 8:
        raise BuildError(
            "tensors of numbers of at least 8 bits for torch-cpu", f"{name!r} of type {value.dtype}"
        )
    return from_numpy(value.numpy())


def _bound(node: Node, known: Mapping[str, Tensor]) -> Call:
    if node.op == "If":
        return _branch(node, known)
    if node.op == "Loop":
        return _loop(node, known)
    if node.op != "Split" and any(node.outputs[1:]):
        raise node.refused("with more than one output")
    kernel = _torch_math.PLAIN.get(node.op)
    if kernel is None:
        if node.op not in BINDINGS:
            raise node.refused("")
        kernel = BINDINGS[node.op](node)
    return Call(kernel=kernel, inputs=node.inputs, outputs=node.outputs)


def _branch(node: Node, known: Mapping[str, Tensor]) -> Call:
    then, other = (_read_graph(node.get(n), known) for n in ("then_branch", "else_branch"))

    def run(scope: Scope) -> list[Tensor]:
        chosen = then if bool(scope[node.inputs[0]]) else other
        return chosen.run({**scope, **chosen.constants})

    return Call(kernel=run, inputs=node.inputs, outputs=node.outputs, reads_scope=True)


def _loop(node: Node, known: Mapping[str, Tensor]) -> Call:
    graph = node.get("body")
    body, names = _read_graph(graph, known), [v.name for v in graph.inputs]
    carried = len(names) - 2
    if len(body.outputs) != 1 + carried:
        raise node.refused("with outputs of every turn")

    def run(scope: Scope) -> list[Tensor]:
        most, go, *values = (scope.get(name) for name in node.inputs)
        turn = 0
        while (most is None or turn < int(most)) and (go is None or bool(go)):
            state = {names[0]: torch.tensor(turn), names[1]: torch.tensor(True)}
            state.update((n, v) for n, v in zip(names[2:], values, strict=True) if v is not None)
            go, *made = body.run({**scope, **body.constants, **state})
            values = [*made]
            turn += 1
        return [value for value in values if value is not None]

    return Call(kernel=run, inputs=node.inputs, outputs=node.outputs, reads_scope=True)
