"""What can be known of TensorRT without it: the shapes it is told, the command for elsewhere."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gossamer.errors import MissingDependency
from gossamer.runtimes._profiles import profiles, trtexec
from gossamer.runtimes.tensorrt import TensorRt
from gossamer.source import TensorType
from zoo import runnable
from zoo.judged import tensor

TEXT = (tensor("ids", "batch", "sequence"), tensor("mask", "batch", "sequence"))


def test_closed_shapes_need_no_profile() -> None:
    assert profiles([tensor("image", 1, 3, 32, 32), TensorType(name="n", dtype="", shape=())]) == ()


def test_open_axes_get_a_range_of_sizes_and_closed_ones_theirs() -> None:
    (found,) = profiles([tensor("x", "batch", 12, "sequence", 32)])

    assert (found.smallest, found.best, found.largest) == (
        (1, 12, 1, 32),
        (1, 12, 128, 32),
        (64, 12, 512, 32),
    )


def test_the_command_is_a_shells_and_tells_every_open_shape() -> None:
    words = shlex.split(trtexec(TEXT, "a model.onnx", "model.plan"))

    assert words == [
        "trtexec",
        "--onnx=a model.onnx",
        "--saveEngine=model.plan",
        "--stronglyTyped",
        "--minShapes=ids:1x1,mask:1x1",
        "--optShapes=ids:1x128,mask:1x128",
        "--maxShapes=ids:64x512,mask:64x512",
    ]


def test_a_model_says_how_it_is_built_elsewhere(tmp_path: Path) -> None:
    told = TensorRt().elsewhere(runnable.affine(tmp_path))

    assert "trtexec --onnx=model.onnx --saveEngine=model.plan --stronglyTyped" in told
    assert "--optShapes=x:1x2" in told


@pytest.mark.skipif(TensorRt().is_installed(), reason="it is here")
def test_without_the_package_it_is_told_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"tensorrt.*gossamer\[tensorrt\]"):
        TensorRt().build(runnable.affine(tmp_path), tmp_path / "built")
