"""Sweeps over opsets: graphs are moved to newer ones, finished files said in older ones."""

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


@pytest.mark.slow
def test_a_graph_is_moved_to_a_newer_opset(tmp_path: Path) -> None:
    folder = sequences.folder(tmp_path)
    args = [{"opset": 18}, {"opset": 21}, {"opset": 99}]
    run = run_of(
        folder,
        framework_args=args,
        quantization_approach="static",
        operators_to_quantize=["MatMul"],
    )

    (tmp_path / "out").mkdir()
    for name in ("result.json", "recipe.yaml", "mine.txt"):
        (tmp_path / "out" / name).touch()

    found = gossamer.sweep(written(tmp_path / "s.yaml", run), tmp_path / "out", overwrite=True)

    kept = {p.name for p in found.out.iterdir()}
    assert kept == {
        *("mine.txt", "README.md", "report.html", "study.db", "sweep.json", "sweep.yaml"),
    }
    assert [s.values["framework_args.opset"] for s in found.settings] == [18, 18, 21, 99]
    assert [s.status for s in found.settings] == ["ok", "ok", "ok", "failed"]
    assert [s.is_baseline for s in found.settings] == [True, False, False, False]
    assert found.settings[1].file != found.settings[2].file
    assert found.settings[1].score == found.settings[2].score
    assert "99" in found.settings[3].reason
