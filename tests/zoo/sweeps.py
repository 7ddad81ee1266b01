"""Sweeps as `gossamer sweep` gives them, built by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gossamer.swept import Swept, SweptSetting, Timing


def timing(speedup: float, length: int) -> Timing:
    """Of a file so many times as fast as float."""
    ms = length / 16 / speedup
    return Timing(
        batch=1,
        length=length,
        latency_ms={"mean": ms * 1.1, "median": ms, "p90": ms * 1.2, "p99": ms * 1.3, "n": 900},
        throughput=1000 / ms,
        speedup=speedup,
        speedup_interval=(speedup * 0.97, speedup * 1.03),
        noise_floor=0.012,
        peak_rss_bytes=180_000_000,
    )


def setting(approach: str | None, score: float, speedup: float, **more: Any) -> SweptSetting:
    """A setting that was measured."""
    steps = [] if approach is None else [{f"quantize-{approach}": {}}]
    lost = 0.89 - score
    fields: dict[str, Any] = {
        "id": f"{approach}",
        "values": {"quantization_approach": approach, "per_channel": approach and True},
        "threads": 2,
        "status": "ok",
        "is_baseline": approach is None,
        "file": f"file of {approach}",
        "runtime": "ort",
        "target": "ort-cpu",
        "recipe": {"graph-steps": steps},
        "score": score,
        "metrics": {"accuracy": score, "f1": score - 0.01},
        "drop": lost,
        "drop_interval": (lost - 0.01, lost + 0.01),
        "size_bytes": 23_000_000,
        "timings": (timing(speedup, 32), timing(speedup, 128)),
    }
    return SweptSetting(**{**fields, **more})


def sample(**changes: Any) -> Swept:
    """A sweep in which dynamic int8 loses nothing for certain, and static int8 is faster."""
    fields: dict[str, Any] = {
        "out": Path("swept"),
        "model": {"kind": "Hugging Face", "origin": "models/minilm"},
        "task": {
            "name": "text-classification",
            "metric": "accuracy",
            "higher_is_better": True,
            "synthetic": False,
            "rows": 872,
            "calibration": 128,
        },
        "environment": {
            "cpu": "AMD EPYC 9V74",
            "flags": ["avx2", "avx512bw", "avx512_vnni"],
            "cores": 2,
            "threads": 2,
            "versions": {"onnxruntime": "1.31.1"},
        },
        "fixed": {
            "model_name_or_path": "models/minilm",
            "dataset": {"name": "sst2", "path": "text", "eval_split": "sst2_dev"},
        },
        "varied": {"quantization_approach": (None, "dynamic", "static")},
        "metrics": ("accuracy",),
        "settings": (
            setting(None, 0.89, 1.0),
            setting("dynamic", 0.885, 1.6),
            setting("static", 0.85, 2.1),
            setting("static", 0.0, 1.0, status="failed", reason="no such kernel", timings=()),
        ),
        "point_seconds": 5.0,
        "files": 3,
        "seconds": 912.0,
        "command": "gossamer sweep sweep.yaml --out swept",
    }
    return Swept(**{**fields, **changes})
