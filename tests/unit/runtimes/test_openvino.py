"""What is particular to OpenVINO: silence towards the network, precision, and its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from gossamer.errors import MissingDependency
from gossamer.measure.environment import cpu_flags
from gossamer.runtimes.openvino import OpenVino
from zoo import runnable
from zoo.network import RECORDER
from zoo.placed import graph

pytestmark = pytest.mark.openvino


BUILD_AND_RUN = """
import json, pathlib, sys
import numpy as np
from gossamer.measure.isolate import Isolated
from gossamer.runtimes.openvino import OpenVino
folder = pathlib.Path(sys.argv[1])
path = OpenVino().build(folder / "affine.onnx", folder / "built")[0]
OpenVino().open(path, threads=1)
with Isolated("openvino", path, threads=1) as session:
    session.run({"x": np.ones((1, 2), np.float32)})
loaded = {name for name, module in sys.modules.items() if module is not None}
print(json.dumps(sorted(name for name in loaded if name.startswith("openvino_telemetry."))))
"""


def test_building_and_running_reach_for_no_network_and_leave_nothing_at_home(
    tmp_path: Path,
) -> None:
    runnable.affine(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(RECORDER)
    home, attempts = tmp_path / "home", tmp_path / "attempts"
    home.mkdir()
    attempts.touch()
    silencers = {"CI", "TF_BUILD", "JENKINS_URL"}  # under which it would be silent by itself
    environment = {k: v for k, v in os.environ.items() if k not in silencers}
    environment |= {"PYTHONPATH": str(tmp_path), "HOME": str(home), "ATTEMPTS": str(attempts)}

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env=environment, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return done.stdout

    assert json.loads(run(BUILD_AND_RUN)) == []
    assert attempts.read_text() == ""
    assert list(home.rglob("*")) == []

    pytest.importorskip("openvino_telemetry")
    run("import openvino, time; time.sleep(1)")
    assert attempts.read_text() != ""  # so the recorder would have seen it


def test_the_package_of_telemetry_is_as_it_was_after_the_import() -> None:
    pytest.importorskip("openvino_telemetry")
    code = (
        "import sys, openvino_telemetry as before\n"
        "from gossamer.runtimes import openvino\n"
        "openvino.package()\n"
        "import openvino_telemetry as after\n"
        "assert after is before and after.Telemetry\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_full_precision_is_float32_where_the_default_is_less(tmp_path: Path) -> None:
    if "avx512_bf16" not in cpu_flags():
        pytest.skip("this CPU has no bfloat16, so that OpenVINO's default is float32")
    path = OpenVino().build(wide(tmp_path), tmp_path / "built")[0]
    x = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    exact = x.astype(np.float64) @ weights().astype(np.float64)

    full = OpenVino().open(path, threads=1, precision="f32").run({"x": x})["y"]
    default = OpenVino().open(path, threads=1).run({"x": x})["y"]

    assert np.abs(full - exact).max() < 1e-4  # float32 rounds at 6e-8, bfloat16 at 4e-3
    assert np.abs(default - exact).max() > 1e-3


def test_an_input_keeps_its_name_where_an_identity_stood_behind_it(tmp_path: Path) -> None:
    model = graph(
        "(float[1, 4] given) => (float[1, 4] a, float[1, 4] c)"
        " { a = Identity(given)  b = Identity(given)  c = Relu(b) }"
    )
    ir.save(model, tmp_path / "model.onnx")

    path = OpenVino().build(tmp_path / "model.onnx", tmp_path / "built")[0]
    session = OpenVino().open(path, threads=1)

    assert [t.name for t in session.inputs] == ["given"]
    assert {t.name for t in session.outputs} == {"a", "c"}
    assert session.run({"given": np.ones((1, 4), np.float32)})["c"].all()


def test_weights_are_stored_as_float32(tmp_path: Path) -> None:
    files = OpenVino().build(wide(tmp_path), tmp_path / "built")

    assert [f.name for f in files] == ["model.xml", "model.bin"]
    assert files[1].stat().st_size >= weights().nbytes


def test_the_files_do_not_say_where_they_were_made(tmp_path: Path) -> None:
    files = OpenVino().build(runnable.affine(tmp_path), tmp_path / "built")

    assert not any(str(tmp_path).encode() in f.read_bytes() for f in files)


def test_without_the_package_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])

    with pytest.raises(MissingDependency, match=r"openvino.*pip install 'gossamer\[openvino\]'"):
        OpenVino().build(runnable.affine(tmp_path), tmp_path / "built")


class Absent:
    """A finder for which openvino is not installed."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "openvino":
            raise ModuleNotFoundError(name=name)


def weights() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((256, 256)).astype(np.float32)


def wide(folder: Path) -> Path:
    """Multiplication by weights(), wide enough for the CPU's matrix kernels."""
    import onnx_ir as ir

    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=["batch", 256])
    w = ir.val("w", const_value=ir.tensor(weights(), name="w"))
    y = ir.val("y", dtype=ir.DataType.FLOAT, shape=["batch", 256])
    node = ir.node("MatMul", inputs=[x, w], outputs=[y])
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 18}, name="g")
    path = folder / "wide.onnx"
    ir.save(ir.Model(graph, ir_version=8), path)
    return path
