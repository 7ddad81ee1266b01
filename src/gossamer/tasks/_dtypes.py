"""From the numbers in a file to the type that a model's input has, without a loss of meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from gossamer.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.source import TensorType

# bits of the mantissa, and the largest number
_MANTISSAS = {
    "float16": (10, 65504.0),
    "bfloat16": (7, 3.3895e38),
    "float32": (23, float(np.finfo(np.float32).max)),
    "float64": (52, float(np.finfo(np.float64).max)),
}


def dtype_of(tensor: TensorType) -> np.dtype[np.generic]:
    """The numpy type of a model input.

    Raises:
        DataError: The model takes something other than numbers.
    """
    try:
        # the name bfloat16 is known to numpy once ml_dtypes is imported
        dtype: np.dtype[np.generic] = np.dtype(tensor.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype == ml_dtypes.bfloat16:
        return dtype
    if dtype.kind not in "fiub":
        raise DataError(
            "a model whose inputs are numbers",
            f"the input {tensor.name} of type {tensor.dtype}",
            "Move what turns text into numbers out of the model.",
        )
    return dtype


def cast(array: NDArray[np.generic], tensor: TensorType) -> NDArray[np.generic]:
    """The array in the type of the input; `check_cast` has seen its values before."""
    # not ascontiguousarray, which gives a single number an axis
    return np.asarray(array, dtype=dtype_of(tensor), order="C")


def check_cast(array: NDArray[np.generic], wanted: np.dtype[np.generic], where: str) -> None:
    """Whether the values survive: any float as float, whole numbers wherever they fit.

    Raises:
        DataError: Fractions for an integer input, numbers out of range, or no numbers at all.
    """
    have, want = array.dtype.kind, wanted.kind if wanted.kind in "fiub" else "f"
    if have not in "fiub":
        raise DataError("an array of numbers", f"{array.dtype} for {where}", "Save numbers.")
    if have == "f" and want != "f":
        raise DataError(
            f"{wanted} for {where}",
            f"{array.dtype}",
            f"Save it with array.astype(np.{wanted}) if its numbers are whole.",
        )
    if have == "b" or not array.size or array.dtype == wanted:
        return
    low, high = float(array.min()), float(array.max())
    least, most = _range(wanted, exact=have != "f")
    if low < least or high > most:
        raise DataError(
            f"numbers that fit {wanted} for {where}",
            f"{array.dtype} from {low:g} to {high:g}",
            "Scale the data to the range that the model takes.",
        )


def _range(wanted: np.dtype[np.generic], *, exact: bool) -> tuple[float, float]:
    """The smallest and largest number of a type; of floats, those whose integers are `exact`."""
    if wanted.kind == "b":
        return 0.0, 1.0
    if wanted.kind in "iu":
        whole = np.iinfo(wanted.name)
        return float(whole.min), float(whole.max)
    bits, largest = _MANTISSAS[wanted.name]
    most = 2.0 ** (bits + 1) if exact else largest
    return -most, most
