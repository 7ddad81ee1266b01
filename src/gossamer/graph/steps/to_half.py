"""The step `to-half`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.errors import TargetError
from gossamer.step import GraphContext, GraphStep

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True, slots=True)
class ToHalf(GraphStep):
    """Run float operators in a 16-bit float type that the target's runtime chooses by itself.

    Attributes:
        dtype: The type; the target must list it among its `float_types`.
    """

    dtype: str = "bf16"

    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:
        """The model as it is: the runtime converts while loading; the file stays float32.

        Raises:
            TargetError: The target does not run that type.
        """
        if self.dtype not in context.target.float_types:
            raise TargetError(
                f"a target that runs {self.dtype}",
                context.target.name,
                f"It runs: {', '.join(('f32', *context.target.float_types))}.",
            )
        return model
