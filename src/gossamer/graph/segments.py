"""A float graph run piece by piece: what a value is made of is known before what reads it is made.

Rounding a weight by the data it is multiplied with (`Rounding.needs_hessian`) needs that data as
the weights before it leave it, so it cannot come from the one calibration pass over the float
model. Every piece ends at the value that is asked for next. It runs once for each sample, in a
process of its own (`segments_child`), which keeps the values that later pieces read and gives back
nothing but sums; so memory holds one piece's weights, and these values.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import onnx_ir as ir

from gossamer import store
from gossamer.graph.child import Child

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.runtime import Feed

PIECE, WEIGHTS = "piece.onnx", "piece.bin"


class Segments:
    """A model that is run up to one value after another; a context manager.

    Nodes may be replaced until they have run, under the same value names.
    """

    def __init__(self, model: ir.Model, feeds: Iterator[Feed]) -> None:
        self._model = model
        self._feeds = feeds
        self._ran: set[str] = set()  # values that were made, kept or not
        self._types: dict[str, str] = {}  # of the values that are kept
        self._values: Mapping[str, ir.Value] = {}  # by name, as the graph is now

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as scope:
            self._folder = Path(
                scope.enter_context(tempfile.TemporaryDirectory(prefix="gossamer-"))
            )
            child = Child(self._folder / "told.log", "gossamer.graph.segments_child")
            self._child = scope.enter_context(child)
            for feed in self._feeds:
                self._types |= self._child.ask({"op": "feed"}, feed)[0]["types"]
            self._scope = scope.pop_all()
        self._ran |= set(self._types)
        return self

    def __exit__(self, *_: object) -> None:
        self._scope.close()

    @property
    def pid(self) -> int:
        """Of the process that runs the pieces."""
        return self._child.pid

    def hessian(self, value: ir.Value) -> NDArray[np.float32]:
        """Mean of x xᵀ over the rows x of `value`, `[channels, channels]`; they lie along its end.

        Raises:
            CalibrationError: No samples, a piece does not run, or NaN or Inf in the value.
            StorageError: No room for a piece.
        """
        nodes, sources = self._piece(value)
        made = {out.name or "" for node in nodes for out in node.outputs if out.name}
        self._ran |= made
        wanted = [
            out
            for node in nodes
            for out in node.outputs
            if out is value or any(self._is_to_come(use.node) for use in out.uses())
        ]
        held = {*self._types, *(out.name or "" for out in wanted)}
        keep = [name for name in sorted(held) if self._is_read(self._values.get(name))]
        path = str(self._write(sources, wanted)) if nodes else ""
        request = {"op": "run", "path": path, "value": value.name or "", "keep": keep}
        reply, arrays = self._child.ask(request)
        self._types = reply["types"]
        return arrays["hessian"].astype(np.float32)

    def scale(self, value: ir.Value, factors: NDArray[np.float32]) -> None:
        """Multiply the channels of a value that was made, as what makes it does from now on."""
        self._child.ask({"op": "scale", "value": value.name or ""}, {"factors": factors})

    def _piece(self, value: ir.Value) -> tuple[list[ir.Node], list[ir.Value]]:
        """The nodes that have to run for `value`, and the kept values that they read."""
        graph = self._model.graph
        self._values = ir.convenience.create_value_mapping(graph, include_subgraphs=False)
        nodes: dict[ir.Node, None] = {}
        sources: dict[ir.Value, None] = {}
        waiting = [value]
        while waiting:
            here = waiting.pop()
            node = here.producer()
            if here.name in self._types:
                sources[here] = None
            elif node is not None and node not in nodes:
                nodes[node] = None
                waiting += [v for v in _read(node, graph) if v is not None]
        return list(nodes), list(sources)

    def _is_to_come(self, node: ir.Node) -> bool:
        """Whether a node did not run yet; those inside of others run with these."""
        if node.graph is not self._model.graph:
            return True
        return any(out.name not in self._ran for out in node.outputs if out.name)

    def _is_read(self, value: ir.Value | None) -> bool:
        return value is not None and any(self._is_to_come(use.node) for use in value.uses())

    def _write(self, sources: list[ir.Value], wanted: list[ir.Value]) -> Path:
        graph = ir.convenience.extract(self._model.graph, sources, wanted)
        for value in graph.inputs:
            value.shape = None
            value.type = ir.TensorType(ir.DataType[self._types[value.name or ""]])
        piece = ir.Model(graph, ir_version=self._model.ir_version)
        path = self._folder / PIECE
        with store.told_apart(path.parent):
            ir.save(piece, path, external_data=WEIGHTS)
        return path


def _read(node: ir.Node, graph: ir.Graph) -> Iterator[ir.Value | None]:
    """What a node reads, branches and bodies inside it included."""
    yield from node.inputs
    for attribute in node.attributes.values():
        if attribute.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}:
            is_one = attribute.type is ir.AttributeType.GRAPH
            for body in [attribute.value] if is_one else attribute.value:
                for inner in ir.traversal.RecursiveGraphIterator(body):
                    yield from (v for v in inner.inputs if v is not None and v.graph is graph)
