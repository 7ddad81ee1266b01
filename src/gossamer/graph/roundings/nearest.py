"""Round to nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.step import Rounding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gossamer.quant import Grid


@dataclass(frozen=True, kw_only=True, slots=True)
class Nearest(Rounding):
    """Every weight goes to the nearest stored number: least error of each weight by itself."""

    def round(
        self,
        weight: NDArray[np.float32],
        grid: Grid,
        hessian: NDArray[np.float32] | None,  # noqa: ARG002 - it looks at no data
    ) -> tuple[NDArray[np.int16], Grid]:
        """`clip(round-half-even(w / scale) + zero point)`, and the grid as it was."""
        return grid.quantize(weight), grid
