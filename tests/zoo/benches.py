"""Documents as `gossamer bench --json` prints them, built by hand."""

from __future__ import annotations

from typing import Any

CONTENDERS = (
    ("float.onnx", "ort", 1.0),
    ("float.onnx", "openvino", 1.2),
    ("int8.onnx", "ort", 2.3),
)


def row(model: str, runtime: str, speed: float, batch: int, length: int) -> dict[str, Any]:
    """A model so many times as fast as the first one."""
    ms = batch**0.9 * length / 64 / speed
    return {
        "model": model,
        "runtime": runtime,
        "batch": batch,
        "length": length,
        "latency_ms": {"median": ms, "p90": ms * 1.1, "p99": ms * 1.4, "n": 640},
        "throughput": 1000 * batch / ms,
        "peak_rss_bytes": 120_000_000,
        "ratio": speed,
        "ratio_interval": [speed * 0.97, speed * 1.03],
        "noise_floor": 0.011,
        "size_bytes": 1_090_000,
    }


def sample(**changes: Any) -> dict[str, Any]:
    """Three contenders at two batch sizes and three lengths."""
    rows = [
        row(*contender, batch, length)
        for batch in (1, 8)
        for length in (32, 128, 512)
        for contender in CONTENDERS
    ]
    environment = {"cpu": "AMD EPYC 9V74", "flags": ["avx2"], "cores": 2, "threads": 2}
    return {"schema_version": 1, "environment": environment, "rows": rows, **changes}
