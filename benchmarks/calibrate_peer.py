"""ONNX Runtime's own calibration, in a process of its own: seconds and peak memory.

    python benchmarks/calibrate_peer.py MODEL ROWS METHOD

MODEL is an ONNX file, ROWS a folder with one .npz for each sample, METHOD MinMax, Entropy or
Percentile. It runs on the CPUs that this process may use.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def main() -> None:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    model, rows, method = sys.argv[1:]

    class Rows(CalibrationDataReader):  # type: ignore[misc]  # has no types
        def __init__(self) -> None:
            self._left = feeds(Path(rows))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        calibrator = create_calibrator(
            model,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod[method],
        )
        calibrator.collect_data(Rows())
        calibrator.compute_data()
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": round(seconds, 3), "rss_bytes": peak}))


def feeds(rows: Path) -> Iterator[dict[str, np.ndarray]]:
    """The samples, in the order of their names."""
    for path in sorted(rows.glob("*.npz")):
        with np.load(path, allow_pickle=False) as archive:
            yield {name: archive[name] for name in archive.files}


if __name__ == "__main__":
    main()
