"""Importing gossamer is light: neither torch nor a runtime nor a model format is loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    *("datasets", "google", "nncf", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "openvino"),
    *("pandas", "pyarrow", "safetensors", "scipy", "sklearn", "torch", "transformers"),
}
# gossamer, numpy, the standard library and PyYAML load about 350; torch alone brings 1,700
MAX_MODULES = 500


def loaded(code: str) -> set[str]:
    """Names of all modules in a fresh interpreter after `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import gossamer", id="the package"),
        pytest.param("from gossamer import *", id="every public name"),
        pytest.param(
            "from gossamer import plugins\nfor f in plugins.FAMILIES: plugins.names(f)",
            id="listing every plug-in",
        ),
        pytest.param(
            "from gossamer import plugins\nfor n in plugins.names('targets'):"
            " plugins.load('targets', n)",
            id="every target",
        ),
        pytest.param("import gossamer.cli.main", id="the command line"),
    ],
)
def test_it_loads_neither_torch_nor_a_runtime(code: str) -> None:
    modules = loaded(code)

    assert {name.split(".")[0] for name in modules} & HEAVY == set()
    assert len(modules) <= MAX_MODULES


def test_every_runtime_says_whether_it_is_installed_without_loading_it() -> None:
    modules = loaded(
        "from gossamer import plugins\nfor n in plugins.names('runtimes'):"
        " plugins.load('runtimes', n)().is_installed()"
    )

    assert {name.split(".")[0] for name in modules} & HEAVY == set()


def test_a_process_that_runs_a_model_loads_no_command() -> None:
    modules = loaded("import gossamer.measure.child")

    assert "gossamer.measure.serving" in modules
    assert not {f"gossamer.{name}" for name in ("bench", "compress", "sweep", "report")} & modules
