"""ONNX Runtime on the CPU."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import plugins, store
from gossamer.errors import BuildError, MeasureError
from gossamer.runtime import Runtime
from gossamer.source import TensorType

if TYPE_CHECKING:
    import types
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Precision, Session

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
NUMPY_NAMES = {
    "float": "float32",
    "double": "float64",
    **{name: name for name in ("float16", "bfloat16", "bool", "int8", "int16", "int32", "int64")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64")},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ort(Runtime):
    """ONNX Runtime with its own CPU kernels."""

    def is_installed(self) -> bool:
        """Whether onnxruntime is there."""
        return importlib.util.find_spec("onnxruntime") is not None

    def version(self) -> str:
        """The version of onnxruntime."""
        _package()
        return importlib.metadata.version("onnxruntime")

    def build(self, model: Path, folder: Path) -> tuple[Path, ...]:
        """`model.onnx`, and `model.onnx.data` where the weights lie beside the graph.

        A model without external data is copied to the bit.

        Raises:
            BuildError: The file is no model, or ONNX Runtime cannot load it.
        """
        import onnx_ir as ir

        target = folder / MODEL_FILE
        try:
            graph = ir.load(model)
        except Exception as error:  # protobuf and onnx_ir raise many kinds for broken files
            raise BuildError("an ONNX file", f"{model}: {error}", "Is it complete?") from error
        weights = _external_files(graph)
        for name in weights:
            if not (model.parent / name).is_file():
                raise BuildError(
                    f"the weights of {model.name} in {name}",
                    f"no such file in {model.parent}",
                    "Keep both files in one folder.",
                )
        if target.exists() and target.samefile(model):
            files = (target, *(folder / name for name in weights))
        else:
            files = _save(graph, target) if weights else _copy(model, target)
        self.open(target, threads=1)
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
        ort = _package()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own exceptions share no base but Exception
            raise BuildError(
                "a model that ONNX Runtime can load",
                f"{path.name}: {error}",
                "Check the file with onnx.checker; the operators must be standard ones or ORT's.",
            ) from error
        return _OrtSession(ort, session)


def _copy(model: Path, target: Path) -> tuple[Path, ...]:
    with store.told_apart(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model, target)
    return (target,)


def _save(graph: ir.Model, target: Path) -> tuple[Path, ...]:
    """Both files; the weights' file has a new name, which the graph must know."""
    import onnx_ir as ir

    with store.told_apart(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        ir.save(graph, target, external_data=WEIGHTS_FILE)
    return target, target.with_name(WEIGHTS_FILE)


class _OrtSession:
    """A Session over an onnxruntime.InferenceSession."""

    def __init__(self, ort: types.ModuleType, session: Any) -> None:
        self.inputs = tuple(_tensor_type(i) for i in session.get_inputs())
        self.outputs = tuple(_tensor_type(o) for o in session.get_outputs())
        self._names = [o.name for o in self.outputs]
        self._session = session
        self._ort = ort
        # numpy has no bfloat16 of its own, and onnxruntime takes none from ml_dtypes
        self._is_plain = all(t.dtype != "bfloat16" for t in (*self.inputs, *self.outputs))

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        try:
            if self._is_plain:
                values = self._session.run(self._names, feed)
            else:
                values = self._run_values(feed)
        except Exception as error:  # its own exceptions share no base but Exception
            raise MeasureError(
                f"inputs for {', '.join(f'{t.name} {t.dtype} {t.shape}' for t in self.inputs)}",
                f"ONNX Runtime said: {error}",
                "Feed one array per input, in its type and shape.",
            ) from error
        return dict(zip(self._names, values, strict=True))

    def _run_values(self, feed: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        make = self._ort.OrtValue
        given = {
            name: make.ortvalue_from_numpy_with_onnx_type(x.view(np.uint16), BFLOAT16)
            if x.dtype.name == "bfloat16"
            else make.ortvalue_from_numpy(x)
            for name, x in feed.items()
        }
        values = self._session.run_with_ort_values(self._names, given)
        return [_array(v) for v in values]


def _array(value: Any) -> NDArray[np.generic]:
    if value.data_type() != "tensor(bfloat16)":
        array: NDArray[np.generic] = value.numpy()
        return array
    import ml_dtypes

    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape)))
    return np.frombuffer(raw, ml_dtypes.bfloat16).reshape(shape)


def _package() -> types.ModuleType:
    ort = plugins.require("onnxruntime", "ort", "running models with ONNX Runtime")
    ort.disable_telemetry_events()
    return ort


def _tensor_type(value: Any) -> TensorType:
    kind = str(value.type)
    name = kind.removeprefix("tensor(").removesuffix(")")
    if name not in NUMPY_NAMES:
        raise BuildError(
            "inputs and outputs that are tensors of numbers",
            f"{value.name!r} of type {kind}",
            "Export the model without string, sequence or map values at its border.",
        )
    return TensorType(name=value.name, dtype=NUMPY_NAMES[name], shape=tuple(value.shape))


def _external_files(model: ir.Model) -> tuple[str, ...]:
    """Names of the files that hold weights outside the model file, sorted."""
    import onnx_ir as ir

    tensors = [
        v.const_value
        for graph in model.graphs()
        for v in graph.initializers.values()
        if isinstance(v.const_value, ir.ExternalTensor)
    ]
    return tuple(sorted({str(t.location) for t in tensors}))
