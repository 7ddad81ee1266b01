"""What every use of ONNX Runtime shares: its files, and a session over them."""

from __future__ import annotations

import ctypes
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import plugins, store
from gossamer.errors import BuildError, MeasureError
from gossamer.runtime import OperatorTime
from gossamer.source import TensorType

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from gossamer.runtime import Feed

KERNEL_TIME = "_kernel_time"  # how the profile calls what a node computes
MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
NUMPY_NAMES = {
    "float": "float32",
    "double": "float64",
    **{name: name for name in ("float16", "bfloat16", "bool", "int8", "int16", "int32", "int64")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64")},
}
Provider = str | tuple[str, dict[str, str]]


def package() -> types.ModuleType:
    """The module onnxruntime, which sends nothing home.

    Raises:
        MissingDependency: It is not installed.
    """
    ort = plugins.require("onnxruntime", "ort", "running models with ONNX Runtime")
    ort.disable_telemetry_events()
    return ort


def copy(model: Path, folder: Path) -> tuple[Path, ...]:
    """`model.onnx`, and `model.onnx.data` where the weights lie beside the graph.

    A model without external data is copied to the bit.

    Raises:
        BuildError: The file is no model, or its weights are not there.
    """
    import onnx  # not onnx_ir, whose import takes longer than all else that this process does

    target = folder / MODEL_FILE
    try:
        graph = onnx.load(model, load_external_data=False).graph
    except Exception as error:  # protobuf raises many kinds for broken files
        raise BuildError("an ONNX file", f"{model}: {error}", "Is it complete?") from error
    weights = tuple(sorted(set(_external_files(graph))))
    for name in weights:
        if not (model.parent / name).is_file():
            raise BuildError(
                f"the weights of {model.name} in {name}",
                f"no such file in {model.parent}",
                "Keep both files in one folder.",
            )
    if target.exists() and target.samefile(model):
        return target, *(folder / name for name in weights)
    return _save(model, target) if weights else _copy(model, target)


class OrtSession:
    """A Session over an onnxruntime.InferenceSession with the default optimisation level.

    Args:
        path: The file.
        threads: Threads of the CPU.
        providers: Its execution providers, the wanted one first.
        profile: Beginning of the path of a file for the time of every node; None for no such file.

    Raises:
        BuildError: ONNX Runtime refuses the file.
        MissingDependency: onnxruntime is not installed.
    """

    def __init__(
        self,
        path: Path,
        threads: int,
        providers: Sequence[Provider],
        profile: Path | None = None,
    ) -> None:
        self._ort = package()
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        try:
            session = self._ort.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # its own exceptions share no base but Exception
            raise BuildError(
                "a model that ONNX Runtime can load",
                f"{path.name}: {error}",
                "Check the file with onnx.checker; the operators must be standard ones or ORT's.",
            ) from error
        self.inputs = tuple(_tensor_type(i) for i in session.get_inputs())
        self.outputs = tuple(_tensor_type(o) for o in session.get_outputs())
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self._names = [o.name for o in self.outputs]
        self._session = session
        # numpy has no bfloat16 of its own, and onnxruntime takes none from ml_dtypes
        self._is_plain = all(t.dtype != "bfloat16" for t in (*self.inputs, *self.outputs))

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        """All outputs by name.

        Raises:
            MeasureError: The inputs do not fit.
        """
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

    def end_profile(self) -> Path:
        """The file with the time of every node in every run so far."""
        return Path(self._session.end_profiling())

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


def operator_times(
    path: Path, feed: Feed, *, threads: int, calls: int, providers: Sequence[Provider]
) -> tuple[OperatorTime, ...]:
    """What each node takes per call, by ONNX Runtime's own clock; the first call is not counted.

    Raises:
        BuildError: ONNX Runtime refuses the file.
        MeasureError: It refuses the feed.
        MissingDependency: onnxruntime is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="gossamer-") as folder:
        session = OrtSession(path, threads, providers, Path(folder) / "profile")
        for _ in range(calls + 1):
            session.run(feed)
        events = json.loads(session.end_profile().read_text(encoding="utf-8"))
    found: dict[str, tuple[dict[str, str], list[int]]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL_TIME):
            name = event["name"].removesuffix(KERNEL_TIME)
            found.setdefault(name, (event["args"], []))[1].append(event["dur"])
    return tuple(
        OperatorTime(
            name=name,
            operator=told["op_name"],
            seconds=_median_of_calls(micros, calls + 1) / 1e6,
            kernel=told.get("provider", ""),
        )
        for name, (told, micros) in found.items()
    )


def _median_of_calls(samples: list[int], calls: int) -> float:
    """The median call's sum, without the first: the body of a loop runs several times in a call."""
    each = max(1, len(samples) // calls)
    sums = [sum(samples[i : i + each]) for i in range(0, len(samples), each)]
    return float(np.median(sums[1:] or sums))


def _array(value: Any) -> NDArray[np.generic]:
    if value.data_type() != "tensor(bfloat16)":
        array: NDArray[np.generic] = value.numpy()
        return array
    import ml_dtypes

    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape)))
    return np.frombuffer(raw, ml_dtypes.bfloat16).reshape(shape)


def _copy(model: Path, target: Path) -> tuple[Path, ...]:
    with store.told_apart(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model, target)
    return (target,)


def _save(model: Path, target: Path) -> tuple[Path, ...]:
    """Both files; the weights' file has a new name, which the graph must know."""
    import onnx_ir as ir

    with store.told_apart(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        ir.save(ir.load(model), target, external_data=WEIGHTS_FILE)
    return target, target.with_name(WEIGHTS_FILE)


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


def _external_files(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the files that hold weights outside the model file, of inner graphs too."""
    for tensor in graph.initializer:
        if tensor.data_location == tensor.EXTERNAL:
            yield from (each.value for each in tensor.external_data if each.key == "location")
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _external_files(inner)
