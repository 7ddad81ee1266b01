"""Real models on an NVIDIA GPU; skips where the runtime or the GPU is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from gossamer import plugins
from gossamer.errors import BuildError, MeasureError
from gossamer.measure.isolate import Isolated, build
from gossamer.runtime import Runtime
from zoo import runnable
from zoo.placed import TENSORRT, conv_relu_conv, feed, quantized, sqnr

pytestmark = pytest.mark.gpu
MODELS = ("cifar10/resnet20.onnx", "imagenet_sample/squeezenet.onnx")


@pytest.fixture(params=["ort-cuda", "tensorrt"])
def name(request: pytest.FixtureRequest) -> str:
    """The name of one runtime after the other."""
    runtime: Runtime = plugins.load("runtimes", request.param)()
    if not runtime.is_installed():
        pytest.skip(f"{request.param} needs its package and a GPU")
    return str(request.param)


@pytest.mark.parametrize("model", MODELS)
def test_a_real_model_computes_what_it_does_on_the_cpu(
    name: str, model: str, real: Path, tmp_path: Path
) -> None:
    files = build(name, real / model, tmp_path / "built")
    reference = plugins.load("runtimes", "ort")().open(real / model, threads=1)
    (tensor,) = reference.inputs
    shape = [size if isinstance(size, int) else 2 for size in tensor.shape or ()]
    data = {tensor.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}

    with Isolated(name, files[0], threads=1, precision="f32") as session:
        got = session.run(data)

    for key, wanted in reference.run(data).items():
        assert sqnr(wanted, got[key]) > 50  # TF32 has 10 bits behind the point


def test_a_file_in_int8_computes_what_its_q_and_dq_say(tmp_path: Path) -> None:
    runtime: Runtime = plugins.load("runtimes", "tensorrt")()
    if not runtime.is_installed():
        pytest.skip("tensorrt needs its package and a GPU")
    model, _ = quantized(conv_relu_conv(), TENSORRT)
    ir.save(model, tmp_path / "model.onnx")
    data = feed(model)
    wanted = plugins.load("runtimes", "ort")().open(tmp_path / "model.onnx", threads=1).run(data)

    files = runtime.build(tmp_path / "model.onnx", tmp_path / "built")
    got = runtime.open(files[0], threads=1).run(data)

    assert [file.name for file in files] == ["model.plan"]
    assert sqnr(wanted["y"], got["y"]) > 35  # a rounding here and there falls the other way


def test_what_the_parser_says_of_a_broken_file_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"received .*model\.onnx: \S"):
        build(name, runnable.garbage(tmp_path), tmp_path / "built")


def test_sizes_that_the_engine_was_not_built_for_are_refused(tmp_path: Path) -> None:
    runtime: Runtime = plugins.load("runtimes", "tensorrt")()
    if not runtime.is_installed():
        pytest.skip("tensorrt needs its package and a GPU")
    files = runtime.build(runnable.affine(tmp_path), tmp_path / "built")

    with pytest.raises(MeasureError, match="engine was built for"):
        runtime.open(files[0], threads=1).run(runnable.affine_feed(1000))
