"""OpenVINO in a process that stays for many models: starting one takes longer than running it."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Self

import onnx_ir as ir

from gossamer.errors import BuildError, MeasureError
from gossamer.measure.isolate import Isolated
from gossamer.run import save
from gossamer.runtime import Feed
from zoo.placed import graph


class Kept:
    """OpenVINO for one model after another; one that crashes it costs the process, not the test."""

    def __enter__(self) -> Self:
        self._scope = contextlib.ExitStack()
        self._folder = Path(self._scope.enter_context(tempfile.TemporaryDirectory()))
        save(graph("(float[1] x) => (float[1] y) { y = Relu(x) }"), self._folder / "first.onnx")
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        self._scope.close()

    def outputs(self, model: ir.Model, feeds: tuple[Feed, ...]) -> list[Feed]:
        """What it says to each feed, built and opened as `run` and `Isolated` do.

        Raises:
            BuildError: It refuses the model, or crashes on it.
            MeasureError: It does not run the model.
        """
        path = self._folder / "model.onnx"
        save(model, path)
        try:
            build = {"op": "build", "runtime": "openvino", "path": str(path)}
            files, _ = self._session.ask(build | {"folder": str(self._folder / "built")})
            built = str(self._folder / "built" / files["files"][0])
            self._session.ask(
                {"op": "open", "runtime": "openvino", "path": built, "threads": 1,
                 "precision": "f32", "cpus": []}
            )  # fmt: skip
            return [self._session.run(feed) for feed in feeds]
        except (BuildError, MeasureError):
            if self._session.pid is None:
                self._open()
            raise

    def _open(self) -> None:
        path = self._folder / "first.onnx"
        self._session = Isolated("openvino", path, threads=1, precision="f32").__enter__()
