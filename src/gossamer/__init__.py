"""A trained model in, the fastest model measured within an accuracy budget out."""

from __future__ import annotations

import os

# onnxruntime looks at this when it is imported; without it, the import alone makes a device id in
# the home folder and reports to its makers, whatever is switched off afterwards
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from gossamer.bench import bench
from gossamer.check import check
from gossamer.compare import compare
from gossamer.compress import compress
from gossamer.diagnose import diagnose
from gossamer.diagnosis import Diagnosis
from gossamer.errors import GossamerError, InputError
from gossamer.evaluate import evaluate
from gossamer.explain import explain, inspect
from gossamer.profile import profile
from gossamer.rerun import rerun
from gossamer.result import Candidate, Result
from gossamer.sweep import sweep
from gossamer.swept import Swept
from gossamer.tables import tables
from gossamer.tune import tune

__all__ = [
    "Candidate",
    "Diagnosis",
    "GossamerError",
    "InputError",
    "Result",
    "Swept",
    "bench",
    "check",
    "compare",
    "compress",
    "diagnose",
    "evaluate",
    "explain",
    "inspect",
    "profile",
    "rerun",
    "sweep",
    "tables",
    "tune",
]
