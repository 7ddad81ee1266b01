"""The step `fuse`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.graph import passes
from gossamer.graph.passes.named_outputs import named_outputs
from gossamer.step import GraphContext, GraphStep

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True, slots=True)
class Fuse(GraphStep):
    """Rewrite into the operators that the target runs fastest (its `transforms`)."""

    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:
        """The rewritten model; values that stay, and outputs, keep their names."""
        outputs = [value.name or "" for value in model.graph.outputs]
        for name in context.target.transforms:
            model = passes.find(name)(model)
        return named_outputs(model, outputs)
