"""ONNX Runtime's CUDA kernels: nothing runs on the CPU in their name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.errors import BuildError
from gossamer.runtimes.ort_cuda import OrtCuda
from zoo import runnable


@pytest.mark.skipif(OrtCuda().is_installed(), reason="it is here")
def test_without_its_kernels_a_file_is_refused_and_not_run_on_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(
        BuildError, match=r"CUDAExecutionProvider; received one with .*CPU.*onnxruntime-gpu"
    ):
        OrtCuda().open(runnable.affine(tmp_path), threads=1)


def test_what_to_do_elsewhere_names_the_package_and_the_file(tmp_path: Path) -> None:
    told = OrtCuda().elsewhere(tmp_path / "any.onnx")

    assert "onnxruntime-gpu" in told
    assert "model.onnx" in told
