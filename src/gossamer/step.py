"""Steps and range rules: frozen values; the class is the algorithm, the fields are options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from gossamer.plan import Plan
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
    """

    target: TargetSpec
    cpu: str
    calibration: Calibration
    record: Callable[[Plan], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphStep(ABC):
    """One technique on a graph, with its options."""

    @abstractmethod
    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:
        """The model after this step; the given one may be used up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeRule(ABC):
    """One way to choose a clipping range from calibration statistics."""

    @abstractmethod
    def range(self, statistics: TensorStatistics, *, symmetric: bool) -> tuple[float, float]:
        """(low, high) with low <= 0 <= high, never wider than the observed extremes and 0."""
