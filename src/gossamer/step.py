"""Steps, roundings, range rules: frozen values; the class is the algorithm, fields are options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from gossamer.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from gossamer.plan import Plan
    from gossamer.progress import Progress
    from gossamer.quant import Grid
    from gossamer.runtime import Feed
    from gossamer.statistics import Statistics, TensorStatistics
    from gossamer.target import TargetSpec


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the calibration data tells about a model.

    Attributes:
        statistics: Gives the statistics of the one calibration pass; the first call collects them.
        feeds: The inputs of every calibration sample, for steps that statistics do not suffice.
    """

    statistics: Callable[[Sequence[str]], Statistics]
    feeds: Callable[[], Iterator[Feed]]


@dataclass(frozen=True, kw_only=True)
class GraphContext:
    """What a graph step may use besides the model.

    Attributes:
        target: Where the result will run.
        cpu: Weakest CPU level on which the result must be right.
        calibration: What is known of the data.
        record: Takes the Plan of a step that placed something.
        folder: For weights that do not fit into memory, until the files are written; None keeps
            them in memory.
        progress: Is told of long work.
    """

    target: TargetSpec
    cpu: str
    calibration: Calibration
    record: Callable[[Plan], None]
    folder: Path | None = None
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphStep(ABC):
    """One technique on a graph, with its options."""

    @abstractmethod
    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:
        """The model after this step; the given one may be used up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounding(ABC):
    """One way to choose the stored integers of a weight.

    Attributes:
        needs_hessian: Whether it asks for the data that the weight is multiplied with.
    """

    needs_hessian: ClassVar[bool] = False

    @abstractmethod
    def round(
        self, weight: NDArray[np.float32], grid: Grid, hessian: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int16], Grid]:
        """The stored numbers, `[outputs, inputs]`, and the grid that they are numbers of.

        Args:
            weight: `[outputs, inputs]`.
            grid: What can be stored; a rounding may choose a better one of the same shape.
            hessian: Mean of x xᵀ over the data x that the weight is multiplied with,
                `[inputs, inputs]`; None where `needs_hessian` is false.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeRule(ABC):
    """One way to choose a clipping range from calibration statistics."""

    @abstractmethod
    def range(self, statistics: TensorStatistics, *, symmetric: bool) -> tuple[float, float]:
        """(low, high) with low <= 0 <= high, never wider than the observed extremes and 0."""
