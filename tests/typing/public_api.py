"""The public API as users write it: this file is not run, it must type-check (`make check`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, assert_type

import gossamer
from gossamer.artifact import Artifact
from gossamer.result import Candidate

result = gossamer.compress("model.onnx", data="data.npz", max_drop="1%")
assert_type(result, gossamer.Result)
assert_type(result.verdict, Literal["met", "best_effort", "failed"])
assert_type(result.out, Path)
assert_type(result.candidates, tuple[Candidate, ...])
assert_type(result.winner, Candidate | None)

if result.winner is not None:
    assert_type(result.winner.speedup, float | None)
    assert_type(result.winner.report_interval, tuple[float, float] | None)

assert_type(gossamer.rerun("recipe.yaml"), Artifact)
assert_type(gossamer.bench(["a.onnx", "b.onnx"], batch="1,8"), dict[str, Any])
assert_type(gossamer.check("gossamer-out", max_drop="1%", min_speedup=1.5), dict[str, Any])
assert_type(gossamer.compare("a.json", "b.json", max_slowdown="5%"), dict[str, Any])
assert_type(gossamer.evaluate("a.onnx", task="fidelity", data="data.npz"), dict[str, Any])
assert_type(gossamer.diagnose("a.onnx", "b.onnx", data="data.npz"), gossamer.Diagnosis)
assert_type(gossamer.sweep("sweep.yaml", "swept"), gossamer.Swept)
assert_type(gossamer.tables(["swept"], format="openvino"), str)
assert_type(gossamer.explain("a.onnx"), Iterator[str])
assert_type(gossamer.inspect("a.onnx"), Iterator[str])

try:
    gossamer.compress("nowhere.onnx")
except gossamer.GossamerError as error:
    assert_type(error.needed, str)
    assert_type(error.exit_code, int)
