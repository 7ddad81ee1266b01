"""What is particular to ONNX Runtime: which files it leaves, and what is missing without it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gossamer.artifact import sha256
from gossamer.errors import BuildError, MissingDependency
from gossamer.runtimes.ort import Ort
from zoo import runnable


def test_a_single_file_is_copied_to_the_bit(tmp_path: Path) -> None:
    model = runnable.affine(tmp_path)

    (copy,) = Ort().build(model, tmp_path / "built")

    assert copy == tmp_path / "built" / "model.onnx"
    assert sha256(copy) == sha256(model)
    assert not copy.samefile(model)


def test_external_weights_are_named_after_the_model(tmp_path: Path) -> None:
    model = runnable.affine(tmp_path, external="part-0001.bin")

    files = Ort().build(model, tmp_path / "built")

    assert [f.name for f in files] == ["model.onnx", "model.onnx.data"]
    assert {f.name for f in (tmp_path / "built").iterdir()} == {"model.onnx", "model.onnx.data"}


@pytest.mark.parametrize("external", [None, "model.onnx.data"])
def test_a_model_that_is_where_it_should_be_stays_as_it_is(
    tmp_path: Path, external: str | None
) -> None:
    model = runnable.affine(tmp_path, external=external).rename(tmp_path / "model.onnx")
    before = sha256(model)

    files = Ort().build(model, tmp_path)

    assert files == (model, *([tmp_path / external] if external else []))
    assert sha256(model) == before


def test_weights_that_went_missing_are_a_build_error(tmp_path: Path) -> None:
    model = runnable.affine(tmp_path, external="weights.bin")
    (tmp_path / "weights.bin").unlink()

    with pytest.raises(BuildError, match=r"weights\.bin"):
        Ort().build(model, tmp_path / "built")


def test_a_path_without_a_file_is_a_build_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"an ONNX file; received .*absent\.onnx"):
        Ort().build(tmp_path / "absent.onnx", tmp_path / "built")


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingDependency, match=r"onnxruntime.*pip install 'gossamer\[ort\]'"):
        Ort().open(tmp_path / "model.onnx", threads=1)
