"""How a tensor is quantized, and with which numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from gossamer.errors import CalibrationError, RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DType = Literal["u8", "s8", "u16", "s16", "s32", "bf16", "f16", "f32"]
Granularity = Literal["per-tensor", "per-channel", "per-group"]
Accumulator = Literal["s16", "s32"]

NUMPY: dict[str, np.dtype[np.generic]] = {
    "u8": np.dtype(np.uint8),
    "s8": np.dtype(np.int8),
    "u16": np.dtype(np.uint16),
    "s16": np.dtype(np.int16),
    "s32": np.dtype(np.int32),
}

WIDTHS = {"u8": 8, "s8": 8, "u16": 16, "s16": 16}  # bits of what values and weights are stored as


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantSpec:
    """How to quantize one tensor.

    Attributes:
        dtype: Integer type of the stored values.
        granularity: One scale for the tensor, for each output channel, or for each group of inputs
            of one.
        symmetric: Zero point fixed: 0 for signed types, the middle for others (128 for u8).
        bits: Bits in use.
        accumulator: Of weights: the narrowest integers in which a kernel adds their products with
            u8 activations. VPMADDUBSW (x86 without VNNI) adds two of them in s16 and saturates at
            32767: weights that it takes together must not add up to more than 128, as 255 * 128 =
            32640 (`gossamer.graph.weights`).
    """

    dtype: DType = "u8"
    granularity: Granularity = "per-tensor"
    symmetric: bool = False
    bits: int = 8
    accumulator: Accumulator = "s32"

    def __post_init__(self) -> None:
        most = WIDTHS.get(self.dtype)
        if most is None or not 2 <= self.bits <= most:
            raise RecipeError(
                "u8 or s8 with 2 to 8 bits, u16 or s16 with 2 to 16",
                f"{self.dtype} with {self.bits} bits",
                "Give fewer bits, or another type.",
            )

    @property
    def qmin(self) -> int:
        """Smallest stored value; symmetric s8 is restricted to -127 (ONNX and oneDNN kernels)."""
        if not self.is_signed:
            return 0
        return -self.qmax if self.symmetric else -(1 << (self.bits - 1))

    @property
    def qmax(self) -> int:
        """Largest stored value."""
        return (1 << (self.bits - self.is_signed)) - 1

    @property
    def text(self) -> str:
        """Type, bits in use where some are not, and granularity: "s8 (4 bits) per-channel"."""
        used = "" if self.bits == WIDTHS[self.dtype] else f" ({self.bits} bits)"
        return f"{self.dtype}{used} {self.granularity}"

    def of_width(self, width: int) -> QuantSpec:
        """The same with all bits of one byte or two: a width of 8 or 16."""
        wide: DType = "s16" if self.is_signed else "u16"
        narrow: DType = "s8" if self.is_signed else "u8"
        return replace(self, dtype=wide if width > 8 else narrow, bits=width)

    @property
    def is_signed(self) -> bool:
        """Whether stored values can be negative."""
        return self.dtype.startswith("s")


@dataclass(frozen=True, kw_only=True, eq=False)
class QParams:
    """The numbers of one quantized tensor: real = scale * (stored - zero_point).

    Attributes:
        scale: float32, scalar or `[channels]`; never zero, never denormal.
        zero_point: Same shape, in the stored type.
        axis: Channel axis, None when per-tensor.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.generic]
    axis: int | None = None

    def quantize(self, x: NDArray[np.generic], spec: QuantSpec) -> NDArray[np.generic]:
        """`x` in the stored type: clip(round-half-even(x / scale) + zero_point)."""
        scale, zero = self.aligned(x.ndim)
        q = np.rint(x.astype(np.float32) / scale) + zero.astype(np.float32)
        stored: NDArray[np.generic] = np.clip(q, spec.qmin, spec.qmax).astype(NUMPY[spec.dtype])
        return stored

    def dequantize(self, q: NDArray[np.generic]) -> NDArray[np.float32]:
        """The float32 values that stored values stand for."""
        scale, zero = self.aligned(q.ndim)
        return ((q.astype(np.float32) - zero.astype(np.float32)) * scale).astype(np.float32)

    def aligned(self, rank: int) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
        """Scale and zero point in a shape that fits a tensor of `rank` axes."""
        if self.axis is None:
            return self.scale, self.zero_point
        shape = [1] * rank
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The numbers that a weight `[outputs, inputs]` can be stored as.

    real = scale * (stored - zero_point), with a scale and a zero point for each group of `size`
    inputs of one output; the last group may be shorter.

    Attributes:
        scale: `[outputs, groups]` float32, positive.
        zero_point: Whole numbers of the same shape, float32.
        size: Inputs in a group; all of them where there is one group.
        qmin: Smallest stored number.
        qmax: Largest stored number.
        is_symmetric: Whether the zero points must stay as they are.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.float32]
    size: int
    qmin: int
    qmax: int
    is_symmetric: bool = False

    def quantize(self, weight: NDArray[np.float32]) -> NDArray[np.int16]:
        """The nearest stored numbers."""
        scale, zero = self.of_inputs(weight.shape[1])
        stored = np.clip(np.rint(weight / scale) + zero, self.qmin, self.qmax)
        whole: NDArray[np.int16] = stored.astype(np.int16)
        return whole

    def dequantize(self, stored: NDArray[np.int16]) -> NDArray[np.float32]:
        """What stored numbers stand for."""
        scale, zero = self.of_inputs(stored.shape[1])
        real: NDArray[np.float32] = (stored - zero) * scale
        return real

    def of_inputs(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scale and zero point of each weight, `[outputs, count]`, where `count` inputs are."""
        scale, zero = (
            np.repeat(part, self.size, axis=1)[:, :count] for part in (self.scale, self.zero_point)
        )
        return scale, zero


SMALLEST_SCALE = np.float32(1e-30)


def qparams(
    low: NDArray[np.generic] | float,
    high: NDArray[np.generic] | float,
    spec: QuantSpec,
    axis: int | None = None,
) -> QParams:
    """Scale and zero point for values in [low, high], which is first widened to contain 0.

    A range of zero width gets scale 1. Reference: ONNX QuantizeLinear; affine rule
    s = (M - m) / (qmax - qmin), z = round(qmin - m / s).

    Raises:
        CalibrationError: An end of the range is NaN or infinite.
    """
    smallest = np.minimum(np.asarray(low, np.float64), 0.0)
    largest = np.maximum(np.asarray(high, np.float64), 0.0)
    width = largest - smallest
    if not np.isfinite(width).all():
        raise CalibrationError(
            "finite ends of every range",
            f"{np.count_nonzero(~np.isfinite(width))} of {width.size} with NaN or infinity",
            "Look for NaN and infinity in the model's weights and in the calibration data.",
        )
    if spec.symmetric:
        zero = 0 if spec.is_signed else 1 << (spec.bits - 1)
        scale = _usable(np.maximum(-smallest, largest) / (spec.qmax - zero))
        zeros = np.full(scale.shape, zero)
    else:
        scale = _usable(width / (spec.qmax - spec.qmin))
        zeros = np.clip(np.rint(spec.qmin - smallest / scale), spec.qmin, spec.qmax)
    stored = zeros.astype(NUMPY[spec.dtype])
    return QParams(scale=scale.astype(np.float32), zero_point=stored, axis=axis)


def _usable(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(scale > SMALLEST_SCALE, scale, 1.0)
