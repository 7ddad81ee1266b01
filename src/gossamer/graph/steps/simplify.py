"""The step `simplify`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.graph.adopted import forget, take_up
from gossamer.graph.passes.simplify import simplify
from gossamer.step import GraphContext, GraphStep

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True, slots=True)
class Simplify(GraphStep):
    """Fold constants, identities and BatchNorms; the same for every target."""

    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:  # noqa: ARG002 - neutral
        """The simplified model."""
        trained = forget(model)  # what a file itself says of adopted numbers is not ours
        model = simplify(model)
        take_up(model, trained)
        return model
