"""Whether two models give the same numbers: a graph and the module, or a graph before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gossamer.runtime import Feed

MODULE_TOLERANCE = 1e-3


def outputs_on_ort(path: Path, feeds: Iterable[Feed]) -> list[Feed]:
    """All outputs of an ONNX file for each feed, on ONNX Runtime without graph optimizations.

    Without them, because what is compared are graphs and not what a runtime makes of them.

    Raises:
        Exception: ONNX Runtime's own errors: it cannot load or run the file.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    # Without fallback: trying a failed session a second time prints to standard output.
    session = ort.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    names = [output.name for output in session.get_outputs()]
    wanted = {given.name for given in session.get_inputs()}
    return [
        dict(
            zip(
                names,
                session.run(names, {k: v for k, v in feed.items() if k in wanted}),
                strict=True,
            )
        )
        for feed in feeds
    ]


def difference(expected: Feed, received: Feed) -> tuple[float, str]:
    """The largest gap over the outputs, max |difference| / max |expected|, and its output's name.

    Infinite where an output is missing, has another shape, or has NaN or Inf in other places;
    for outputs that are no floats it is 0 (equal) or infinite.
    """
    worst = (0.0, "")
    for name, y in expected.items():
        found = _tensor_difference(y, received[name]) if name in received else float("inf")
        worst = max(worst, (found, name))
    return worst


def check_agreement(expected: Sequence[Feed], received: Sequence[Feed], what: str) -> None:
    """Nothing, if the outputs of every feed agree to 1e-3 of their largest value.

    Raises:
        ExportError: They do not; the message says by how much and in which output.
    """
    for before, after in zip(expected, received, strict=True):
        found, name = difference(before, after)
        if found > MODULE_TOLERANCE:
            shape = list(next(iter(before.values())).shape)
            raise ExportError(
                f"a graph that agrees with {what} to {MODULE_TOLERANCE:g} of the largest output",
                f"a difference of {found:.3g} in the output {name!r} (shape {shape})",
                "The exported graph does not compute what the module computes: look for control "
                "flow or shapes in `forward` that depend on the example inputs.",
            )


def _tensor_difference(y: np.ndarray, z: np.ndarray) -> float:
    if y.shape != z.shape:
        return float("inf")
    if not y.size:
        return 0.0
    if not _is_float(y):
        return 0.0 if np.array_equal(y, z) else float("inf")
    y, z = y.astype(np.float64), z.astype(np.float64)
    finite = np.isfinite(y)
    if not np.array_equal(np.where(finite, 0.0, y), np.where(np.isfinite(z), 0.0, z), True):
        return float("inf")
    if not finite.any():
        return 0.0
    gap = float(np.max(np.abs(y[finite] - z[finite])))
    return gap / max(float(np.max(np.abs(y[finite]))), float(np.finfo(np.float32).tiny))


def _is_float(y: np.ndarray) -> bool:
    return np.issubdtype(y.dtype, np.floating) or y.dtype.name == "bfloat16"
