"""Diagnoses as `gossamer diagnose` gives them, built by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gossamer.diagnosis import Diagnosis, Histogram, SiteDiagnosis, Tensor
from gossamer.result import Candidate

TENSOR = Tensor(
    name="input", kind="activation", low=-1.0, high=3.0, range_low=-0.5, range_high=2.0,
    clipped=0.04, used=1.0, bulk=0.5, steps=256, most_steps=256, sqnr_db=12.0,
    histogram=Histogram(low=-1.0, high=3.0, real=(0.5, 0.4, 0.1, 0.0), stored=(0.5, 0.5, 0, 0)),
)  # fmt: skip
SITE = SiteDiagnosis(
    site="/layer1/conv", op="Conv", finding="activation input: clipped 4 % of values",
    alone_db=12.3, output_db=9.0, accumulated_db=None, without_score=0.9, without_db=20.0,
    tensors=(TENSOR,),
)  # fmt: skip
CURE = Candidate(
    id="abc", status="ok", runtime="ort", target="ort-cpu", label="static mse", recipe={},
    score=0.95, drop=0.01, metrics={"outputs_sqnr_db": 30.0}, within_budget=True,
)  # fmt: skip
FAILED = replace(CURE, id="def", status="failed", reason="no kernel", score=None, drop=None)


def sample(**changes: Any) -> Diagnosis:
    """A model that one of two cures brought back."""
    fields: dict[str, Any] = {
        "out": Path("out"),
        "outcome": "cured",
        "model": "a.onnx",
        "quantized": "folder/b.onnx",
        "target": "ort-cpu",
        "cpu": "portable",
        "max_drop": "1%",
        "float_score": 0.96,
        "score": 0.5,
        "drop": 0.46,
        "sqnr_db": 2.0,
        "task": {"name": "classification", "metric": "accuracy", "rows": 8, "synthetic": False},
        "sites": (SITE,) * 12,
        "unmatched": ("somewhere",),
        "cures": (CURE, FAILED),
        "cure": CURE,
        "report": {
            "rows": 9,
            "float": 0.9,
            "given": 0.4,
            "cured": 0.89,
            "drop": 0.01,
            "interval": [0.0, 0.02],
        },
    }
    return Diagnosis(**{**fields, **changes})
