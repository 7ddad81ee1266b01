"""The command line as a test calls it: arguments in, exit code and output back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zoo import clock, whole


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What stdout holds, which must be one JSON document."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command line in this process."""
    from gossamer.cli.main import main

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        written = capfd.readouterr()
        return Outcome(code=int(stop.value.code or 0), out=written.out, err=written.err)

    return call


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole.classifier(tmp_path_factory.mktemp("model") / "small.onnx")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole.samples(tmp_path_factory.mktemp("data") / "small.npz")


@pytest.fixture(scope="session")
def finished(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one compress that tried static int8 on ONNX Runtime."""
    import gossamer

    out = tmp_path_factory.mktemp("finished") / "out"
    asked = {"targets": ["ort-cpu"], "max_drop": "5%", "trials": 3, "threads": 1}
    with clock.quick():
        gossamer.compress(model, data=data, out=out, **asked)
    return out
