"""Steps, roundings, range rules: frozen values; the class is the algorithm, fields are options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from gossamer.errors import RecipeError
from gossamer.progress import Silent
from gossamer.quant import QuantSpec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from gossamer.plan import Plan
    from gossamer.progress import Progress
    from gossamer.quant import Grid
    from gossamer.runtime import Feed
    from gossamer.spot import Spots
    from gossamer.statistics import Statistics, TensorStatistics
    from gossamer.target import TargetSpec


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the calibration data tells about a model.

    Attributes:
        statistics: Gives the statistics of the one calibration pass; the first call collects them.
        feeds: The inputs of every calibration sample, for steps that statistics do not suffice.
        everywhere: Gives the statistics that `placement: uniform` needs beyond these, from a pass
            over a few samples; without it such steps store what the one pass observed.
    """

    statistics: Callable[[Sequence[str]], Statistics]
    feeds: Callable[[], Iterator[Feed]]
    everywhere: Callable[[], Statistics] | None = None


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


class TrainingSet(Protocol):
    """Labelled samples to train with."""

    def __len__(self) -> int:
        """Number of samples."""

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[Mapping[str, Tensor]]:
        """Every sample once, in an order drawn by `seed`, but for a remainder smaller than `size`.

        A batch names its tensors by the parameters of `forward`; `labels` are among them.

        Args:
            size: Samples of a batch.
            seed: Draws the order.
            start: So many batches are left out at the beginning.
        """


@dataclass(frozen=True, kw_only=True)
class ModuleContext:
    """What a module step may use besides the model.

    Attributes:
        training: Samples to train with; None where there are none.
        teacher: Gives the module as the source gave it, in eval mode, to be read only.
        seed: Of everything random.
        folder: For this step's checkpoints and its result, kept when the work is killed.
        spots: Folds the BatchNorms of a module, and says where the int8 file of the recipe will
            store what of it; None where that is not known.
        latency: Measures how long a module takes, by the time of the one that the step was given;
            None where that cannot be done.
        progress: Is told of long work.
    """

    training: TrainingSet | None
    teacher: Callable[[], nn.Module]
    seed: int
    folder: Path
    spots: Callable[[nn.Module], Spots] | None = None
    latency: Callable[[nn.Module], float] | None = None
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleStep(ABC):
    """One technique on a torch module, with its options."""

    learns: ClassVar[bool] = False  # whether it cannot do without training samples

    @abstractmethod
    def apply(self, model: nn.Module, context: ModuleContext) -> nn.Module:
        """The module after this step, in eval mode; the given one may be used up."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """What some nodes get that the others do not; a field that is None leaves it to the step.

    Attributes:
        nodes: Which, as `gossamer.graph.select` finds them.
        ranges: Rule that chooses the ranges of what they read; what has one is not smoothed.
        symmetric: Whether the zero point of what they read is in the middle of what is stored.
        activation_bits: 8 or 16, of what they read.
        granularity: One scale for a weight, or one for each of its output channels.
        weight_bits: Of the signed numbers that their weights are stored as, 2 to 8.
    """

    nodes: tuple[str, ...]
    ranges: RangeRule | None = None
    symmetric: bool | None = None
    activation_bits: Literal[8, 16] | None = None
    granularity: Literal["per-tensor", "per-channel"] | None = None
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        if not self.nodes or not self.wishes:
            raise RecipeError(
                "an override that names nodes and something for them",
                f"the nodes {list(self.nodes)} with {list(self.wishes)}",
                f"It can set {', '.join(self._fields())}.",
            )
        if self.weight_bits is not None:
            QuantSpec(dtype="s8", symmetric=True, bits=self.weight_bits)  # which refuses others

    @property
    def wishes(self) -> dict[str, object]:
        """What is set, by the name of the field."""
        return {f: value for f in self._fields() if (value := getattr(self, f)) is not None}

    @classmethod
    def _fields(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls) if f.name != "nodes")
