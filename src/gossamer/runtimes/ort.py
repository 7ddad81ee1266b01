"""ONNX Runtime on the CPU."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.runtime import Runtime
from gossamer.runtimes import _onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.runtime import Feed, OperatorTime, Precision, Session


@dataclass(frozen=True, kw_only=True, slots=True)
class Ort(Runtime):
    """ONNX Runtime with its own CPU kernels."""

    def is_installed(self) -> bool:
        """Whether onnxruntime is there."""
        return importlib.util.find_spec("onnxruntime") is not None

    def version(self) -> str:
        """The version of onnxruntime."""
        return str(_onnxruntime.package().__version__)

    def build(self, model: Path, folder: Path) -> tuple[Path, ...]:
        """`model.onnx`, and `model.onnx.data` where the weights lie beside the graph.

        A model without external data is copied to the bit.

        Raises:
            BuildError: The file is no model, or ONNX Runtime cannot load it.
        """
        files = _onnxruntime.copy(model, folder)
        self.open(files[0], threads=1)
        return files

    def open(
        self,
        path: Path,
        *,
        threads: int,
        precision: Precision = "default",  # its CPU kernels keep to float32 anyway
    ) -> Session:
        """A session with the default optimisation level and `threads` threads.

        Raises:
            BuildError: ONNX Runtime refuses the file.
            MissingDependency: onnxruntime is not installed.
        """
        return _onnxruntime.OrtSession(path, threads, ["CPUExecutionProvider"])

    def operator_times(
        self, path: Path, feed: Feed, *, threads: int, calls: int
    ) -> tuple[OperatorTime, ...]:
        """What each node of the optimized graph takes, by ONNX Runtime's profile.

        Raises:
            BuildError: ONNX Runtime refuses the file.
            MeasureError: It refuses the feed.
            MissingDependency: onnxruntime is not installed.
        """
        return _onnxruntime.operator_times(
            path, feed, threads=threads, calls=calls, providers=["CPUExecutionProvider"]
        )
