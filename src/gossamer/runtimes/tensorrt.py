"""TensorRT on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import plugins, store
from gossamer.errors import BuildError, StorageError
from gossamer.runtime import Runtime
from gossamer.runtimes import _cuda, _profiles
from gossamer.runtimes._tensorrt import TensorRtSession, tensor_type

if TYPE_CHECKING:
    import types

    from gossamer.runtime import Precision, Session

MODEL_FILE, ENGINE_FILE = "model.onnx", "model.plan"
PURPOSE = "building and running TensorRT engines"


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRt(Runtime):
    """TensorRT; written from its documentation, not yet run on a GPU by gossamer's authors."""

    def is_installed(self) -> bool:
        """Whether tensorrt, cuda-python and a GPU are there."""
        names = ("tensorrt", "cuda", "cuda.bindings")  # in turn: the last is looked up in `cuda`
        return all(importlib.util.find_spec(name) for name in names) and _cuda.has_device()

    def version(self) -> str:
        """The version of tensorrt."""
        return str(_package().__version__)

    def elsewhere(self, model: Path) -> str:
        """The command that builds an engine of the file."""
        import onnx_ir as ir

        from gossamer.source import TensorType

        inputs = [
            TensorType(
                name=value.name or "",
                dtype="",
                shape=tuple(d if isinstance(d, int) else None for d in value.shape or ()),
            )
            for value in ir.load(model).graph.inputs
        ]
        command = _profiles.trtexec(inputs, MODEL_FILE, ENGINE_FILE)
        return f"No GPU took this file yet. Where TensorRT is, build the engine with:\n{command}"

    def build(self, model: Path, folder: Path) -> tuple[Path, ...]:
        """`model.plan`: an engine for this GPU and this version of TensorRT.

        Types are those of the file; products of float32 may run in TF32, TensorRT's default. Times
        of kernels are kept in a cache of the user, so that the next engine with the same layers is
        built faster, and of the same kernels.

        Raises:
            BuildError: TensorRT cannot read the file or build an engine; with what it said.
            MissingDependency: tensorrt is not installed.
        """
        trt = _package()
        log = _log(trt)
        builder = trt.Builder(log)
        network = builder.create_network(_flags(trt))
        parser = trt.OnnxParser(network, log)
        if not parser.parse_from_file(str(model.absolute())):
            said = [parser.get_error(i).desc() for i in range(parser.num_errors)]
            raise BuildError("an ONNX file that TensorRT can read", f"{model.name}: {_told(said)}")
        config = builder.create_builder_config()
        _set_shapes(builder, network, config)
        times = _times(trt)
        _set_times(config, times.read_bytes() if times.is_file() else b"")
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise BuildError(
                "a graph that TensorRT can build", f"{model.name}: {_told(log.messages)}"
            )
        path = folder / ENGINE_FILE
        store.write_bytes(path, bytes(engine))
        with contextlib.suppress(StorageError):  # the engine is there, and that was asked for
            store.write_bytes(times, bytes(config.get_timing_cache().serialize()))
        return (path,)

    def open(self, path: Path, *, threads: int, precision: Precision = "default") -> Session:
        """A session on the first GPU, over an engine or over that of an ONNX file, built first.

        Types were fixed when the engine was built.

        Raises:
            BuildError: The file is no engine of this version of TensorRT for this GPU.
            MissingDependency: tensorrt or cuda-python is not installed.
        """
        if path.suffix == ".onnx":
            with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
                (engine_file,) = self.build(path, Path(scratch))
                return self.open(engine_file, threads=threads, precision=precision)
        trt = _package()
        log = _log(trt)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BuildError("a TensorRT engine", f"{path.name}: {error}") from error
        runtime = trt.Runtime(log)
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise BuildError(
                "an engine that was built by this version of TensorRT for this GPU",
                f"{path.name}: {_told(log.messages)}",
                "Build it again from the ONNX file.",
            )
        return TensorRtSession(trt, engine, (runtime, log))


def _package() -> types.ModuleType:
    return plugins.require("tensorrt", "tensorrt", PURPOSE)


def _flags(trt: types.ModuleType) -> int:
    """Those of a strongly typed network, which every network of TensorRT 11 is."""
    is_always = int(trt.__version__.split(".")[0]) >= 11
    return 0 if is_always else 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _times(trt: types.ModuleType) -> Path:
    """Where the times of kernels are kept; they hold for one version and say for which GPU."""
    return Path.home() / ".cache" / "gossamer" / f"tensorrt-{trt.__version__}.timing"


def _set_times(config: Any, known: bytes) -> None:
    """Let the builder use and fill a timing cache, an empty one where `known` is another GPU's."""
    for content in (known, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def _log(trt: types.ModuleType) -> Any:
    """A logger that keeps what went wrong, in `messages`, and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]  # known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.messages.append(message)

    return Log()


def _set_shapes(builder: Any, network: Any, config: Any) -> None:
    """Give the builder a profile for the inputs with open axes."""
    given = [network.get_input(i) for i in range(network.num_inputs)]
    found = _profiles.profiles([tensor_type(v.name, v.dtype, v.shape) for v in given])
    if found:
        profile = builder.create_optimization_profile()
        for each in found:
            profile.set_shape(each.name, each.smallest, each.best, each.largest)
        config.add_optimization_profile(profile)


def _told(messages: list[str]) -> str:
    """What TensorRT said, on one line."""
    return " ".join(" ".join(messages).split()) or "TensorRT gave no reason"
