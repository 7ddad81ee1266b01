"""Functions of one value, element by element, whose statistics follow from those of the value.

Activations like SiLU, x * sigmoid(x), make two large values of one. Reading these again costs as
much as reading the first; applying the function to what was read of the first costs next to
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    Elements = NDArray[np.float32]

SILU_BOTTOM = -1.2784645  # where x * sigmoid(x) is least


@dataclass(frozen=True, slots=True)
class Curve:
    """One function.

    Attributes:
        of: Applies it.
        bottom: It falls before this number and rises behind it; -inf if it always rises.
    """

    of: Callable[[Elements], Elements]
    bottom: float = -np.inf

    def extremes(self, low: Elements, high: Elements) -> tuple[Elements, Elements]:
        """Those of the function on each range [low, high]."""
        if self.bottom == -np.inf:
            return self.of(low), self.of(high)
        bottom = np.full_like(low, self.bottom)
        least, left, right = self.of(np.stack([bottom.clip(low, high), low, high]))
        return least, np.maximum(left, right)


def _sigmoid(x: Elements) -> Elements:
    half = np.float32(0.5)
    result: Elements = half * np.tanh(half * x) + half
    return result


ITSELF = "itself"
CURVES = {
    ITSELF: Curve(lambda x: x),
    "Sigmoid": Curve(_sigmoid),
    "Silu": Curve(lambda x: x * _sigmoid(x), SILU_BOTTOM),
}


def source(value: ir.Value) -> tuple[str, ir.Value] | None:
    """The name of the curve that makes `value`, and of what; None if it is no curve."""
    node = value.producer()
    if node is None:
        return None
    match node.op_type, [x for x in node.inputs if x is not None]:
        case "Sigmoid", [x]:
            return "Sigmoid", x
        case "Mul", [a, b]:
            for x, gate in ((a, b), (b, a)):
                if source(gate) == ("Sigmoid", x):
                    return "Silu", x
    return None
