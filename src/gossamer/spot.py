"""Where training computes with the numbers that int8 can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gossamer.quant import QParams, QuantSpec

Part = Literal["input", "output", "weight", "bias"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spot:
    """One tensor of a module that the int8 file stores, and how.

    Attributes:
        module: Path of the module in the model, empty for the model itself.
        part: Its first positional argument, what it returns, or a parameter of it.
        values: Names of the values, or of the weight, that have these numbers in the graph. Spots
            with the same names share one range. Of a bias, the value and the weight whose steps
            give, multiplied, its own.
        spec: How the plan stores it; a bias is stored in int32, whatever this says.
        start: Numbers of an activation that calibration chose; None for weights, whose own numbers
            say them.
        parameter: Name of the parameter in the module; empty for activations.
        beside: Name of the parameter that a bias belongs to.
        axis: Of a weight with a scale for each output channel, that axis of the parameter.
        factor: What the weight in the graph is, in terms of the parameter: attention's scale may be
            folded into it.
        stored_axis: The same axis of the weight in the graph, where it may lie transposed.
    """

    module: str
    part: Part
    values: tuple[str, ...]
    spec: QuantSpec
    start: QParams | None = None
    parameter: str = ""
    beside: str = ""
    axis: int | None = None
    stored_axis: int | None = None
    factor: float = 1.0

    @property
    def where(self) -> str:
        """It in words."""
        place = self.module or "the model"
        return (
            f"{self.parameter} of {place}" if self.part == "weight" else f"{self.part} of {place}"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spots:
    """All spots of a plan in one model.

    Attributes:
        spots: What a training can store as the file will.
        missed: Values and weights that it cannot, by name, each with the reason; they stay in
            float in training and get what calibration says.
    """

    spots: tuple[Spot, ...]
    missed: tuple[tuple[str, str], ...] = ()
