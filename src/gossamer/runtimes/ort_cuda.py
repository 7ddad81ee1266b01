"""ONNX Runtime on an NVIDIA GPU."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.errors import BuildError
from gossamer.runtime import Runtime
from gossamer.runtimes import _cuda, _onnxruntime

if TYPE_CHECKING:
    from gossamer.runtime import Precision, Session

PROVIDER = "CUDAExecutionProvider"
LIBRARY = Path("capi", "libonnxruntime_providers_cuda.so")  # of the package, in its GPU builds


@dataclass(frozen=True, kw_only=True, slots=True)
class OrtCuda(Runtime):
    """ONNX Runtime with its CUDA kernels; not yet run on a GPU by gossamer's authors."""

    def is_installed(self) -> bool:
        """Whether a build of onnxruntime with CUDA kernels and a GPU are there."""
        found = importlib.util.find_spec("onnxruntime")
        folders = found.submodule_search_locations if found is not None else None
        has_kernels = any((Path(folder) / LIBRARY).is_file() for folder in folders or ())
        return has_kernels and _cuda.has_device()

    def version(self) -> str:
        """The version of onnxruntime."""
        return str(_onnxruntime.package().__version__)

    def elsewhere(self, model: Path) -> str:
        """Where the file runs: it is the same for all providers."""
        return (
            "No GPU took this file yet. Where there is one: pip install onnxruntime-gpu, in place "
            f"of onnxruntime, and open {_onnxruntime.MODEL_FILE} with {PROVIDER}."
        )

    def build(self, model: Path, folder: Path) -> tuple[Path, ...]:
        """`model.onnx`, and `model.onnx.data` where the weights lie beside the graph.

        Raises:
            BuildError: The file is no model, or ONNX Runtime cannot load it on the GPU.
        """
        files = _onnxruntime.copy(model, folder)
        self.open(files[0], threads=1)
        return files

    def open(self, path: Path, *, threads: int, precision: Precision = "default") -> Session:
        """A session on the first GPU; nodes without a CUDA kernel run on `threads` of the CPU.

        `f32` forbids TF32, which is the default for products of float32.

        Raises:
            BuildError: ONNX Runtime refuses the file, or cannot load its CUDA provider.
            MissingDependency: onnxruntime is not installed.
        """
        available = _onnxruntime.package().get_available_providers()
        if PROVIDER not in available:
            raise _without(", ".join(available))
        options = {"use_tf32": "0"} if precision == "f32" else {}
        session = _onnxruntime.OrtSession(
            path, threads, [(PROVIDER, options), "CPUExecutionProvider"]
        )
        if PROVIDER not in session.providers:  # it goes on with the CPU, after a warning
            raise _without(", ".join(session.providers))
        return session


def _without(providers: str) -> BuildError:
    return BuildError(
        f"ONNX Runtime with {PROVIDER}",
        f"one with {providers}",
        "Install onnxruntime-gpu in place of onnxruntime, and the CUDA and cuDNN it was built for.",
    )
