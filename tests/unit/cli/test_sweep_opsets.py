"""Sweeps over opsets that are older than those in which the house works."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import gossamer
from gossamer import sources
from zoo import sequences
from zoo.sequences import run_of, written


def test_files_are_said_in_an_older_opset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QuantizeLinear came with opset 10."""
    opsets, folder = {}, sequences.folder(tmp_path)

    def noted(path: Path, opset: int, *, tolerance: float) -> None:
        sources.lower(path, opset, tolerance=tolerance)
        opsets[opset] = onnx.load(path).opset_import[0].version

    monkeypatch.setattr("gossamer.grid.files.lower", noted)
    run = run_of(
        folder,
        framework_args=[{"opset": 13}, {"opset": 9}],
        quantization_approach="static",
        operators_to_quantize=["MatMul"],
    )

    found = gossamer.sweep(written(tmp_path / "s.yaml", run), tmp_path / "out")

    assert opsets == {13: 13}
    assert [s.status for s in found.settings] == ["ok", "ok", "failed"]
    assert "which it does not have" in found.settings[2].reason
    assert not found.settings[1].remarks


def test_float_is_measured_as_it_opens_where_it_cannot_be_said(tmp_path: Path) -> None:
    run = run_of(
        sequences.folder(tmp_path),
        framework_args={"opset": 1},
        quantization_approach="static",
        operators_to_quantize=["MatMul"],
    )

    found = gossamer.sweep(written(tmp_path / "s.yaml", run), tmp_path / "out")

    assert [s.status for s in found.settings] == ["ok", "failed"]
    assert "opset 1: float32 is measured at 18" in found.settings[0].remarks[0]
    assert "# Measured otherwise than asked for" in (found.out / "README.md").read_text()
