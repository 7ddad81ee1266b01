"""The process that runs pieces of a model: `python -m gossamer.graph.segments_child`.

It answers one frame on stdin with one frame on stdout, see `segments`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import CalibrationError
from gossamer.frames import serve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.runtime import Feed

TYPES = {"float32": "FLOAT", "float64": "DOUBLE"}  # others are called alike but for the case


def main() -> None:
    """Serve until stdin ends."""
    serve(Samples().answer)


class Samples:
    """The values of every sample that later pieces read."""

    def __init__(self) -> None:
        self._kept: list[Feed] = []

    def answer(self, request: dict[str, Any], arrays: Feed) -> tuple[dict[str, Any], Feed]:
        """Header and arrays of the reply to one request."""
        if request["op"] == "feed":
            self._kept.append(arrays)
            return {"types": self._types()}, {}
        if request["op"] == "scale":
            for known in self._kept:
                known[request["value"]] = np.multiply(known[request["value"]], arrays["factors"])
            return {}, {}
        return self._run(request["path"], request["value"], set(request["keep"]))

    def _run(self, path: str, value: str, keep: set[str]) -> tuple[dict[str, Any], Feed]:
        if not self._kept:
            raise CalibrationError("at least one calibration sample", "none", "Give some data.")
        session, total, rows = _opened(path) if path else None, None, 0
        for i, known in enumerate(self._kept):
            found = known | (_outputs(session, known) if session is not None else {})
            x = np.asarray(found[value], np.float32).reshape(-1, found[value].shape[-1])
            squares = x.T @ x
            if not np.isfinite(squares).all():
                raise CalibrationError(
                    f"finite numbers in {value!r}", f"NaN or Inf in calibration sample {i}"
                )
            total = squares.astype(np.float64) if total is None else total + squares
            rows += len(x)
            self._kept[i] = {name: array for name, array in found.items() if name in keep}
        assert total is not None  # there are samples
        return {"types": self._types()}, {"hessian": (total / max(rows, 1)).astype(np.float32)}

    def _types(self) -> dict[str, str]:
        return {n: TYPES.get(x.dtype.name, x.dtype.name.upper()) for n, x in self._kept[-1].items()}


def _opened(path: str) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")  # a copy of every weight
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions share no base but Exception
        raise CalibrationError("a piece that ONNX Runtime loads", str(error)) from error


def _outputs(session: Any, known: Feed) -> Feed:
    names = [output.name for output in session.get_outputs()]
    feed = {i.name: known[i.name] for i in session.get_inputs()}
    try:
        found: list[NDArray[np.generic]] = session.run(names, feed)
    except Exception as error:
        raise CalibrationError("inputs that the model runs on", str(error)) from error
    return dict(zip(names, found, strict=True))


if __name__ == "__main__":
    main()
