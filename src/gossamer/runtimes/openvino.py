"""OpenVINO on the CPU."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import plugins
from gossamer.errors import BuildError, MeasureError
from gossamer.runtime import OperatorTime, Runtime
from gossamer.source import TensorType

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Precision, Session

MODEL_FILE = "model.xml"
WEIGHTS_FILE = "model.bin"
TELEMETRY = "openvino_telemetry"
NUMPY_NAMES = {
    "boolean": "bool",
    "bf16": "bfloat16",
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenVino(Runtime):
    """OpenVINO with its CPU plug-in."""

    def is_installed(self) -> bool:
        """Whether openvino is there."""
        return importlib.util.find_spec("openvino") is not None

    def version(self) -> str:
        """The version of openvino."""
        package()
        return importlib.metadata.version("openvino")

    def build(self, model: Path, folder: Path) -> tuple[Path, ...]:
        """`model.xml` and `model.bin`, weights in the types they had; same bytes every time.

        Raises:
            BuildError: OpenVINO cannot read the file, or the CPU plug-in cannot compile it.
            MissingDependency: openvino is not installed.
        """
        openvino = package()
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / MODEL_FILE
        try:
            # Asking for one frontend keeps the others from trying a broken file, which they tell
            # about on stderr; and it needs no openvino.convert_model with its telemetry.
            frontend = openvino.frontend.FrontEndManager().load_by_framework("onnx")
            network = frontend.convert(frontend.load(str(model)))
            _name_nodes(network)
            openvino.save_model(network, str(target), compress_to_fp16=False)
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
            raise BuildError(
                "an ONNX file that OpenVINO can read", f"{model.name}: {_short(error)}"
            ) from error
        del network
        self.open(target, threads=1)
        return target, folder / WEIGHTS_FILE

    def open(self, path: Path, *, threads: int, precision: Precision = "default") -> Session:
        """A compiled model with the plug-in's defaults, apart from `threads` and `precision`.

        Raises:
            BuildError: OpenVINO refuses the file.
            MissingDependency: openvino is not installed.
        """
        compiled, names = _compiled(path, threads, precision)
        return _OpenVinoSession(compiled, names, compiled)

    def open_parallel(
        self, path: Path, *, threads: int, precision: Precision = "default"
    ) -> tuple[Session, ...]:
        """As many requests of one model compiled for throughput as the plug-in finds best.

        Raises:
            BuildError: OpenVINO refuses the file, or the CPU plug-in cannot compile it.
            MissingDependency: openvino is not installed.
        """
        hint = {"PERFORMANCE_HINT": "THROUGHPUT"}
        compiled, names = _compiled(path, threads, precision, hint)
        count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # as a compiled model that is called does it: inputs are read where they lie
        calls = [
            functools.partial(compiled.create_infer_request().infer, share_inputs=True)
            for _ in range(count)
        ]
        return tuple(_OpenVinoSession(compiled, names, call) for call in calls)

    def operator_times(
        self, path: Path, feed: Feed, *, threads: int, calls: int
    ) -> tuple[OperatorTime, ...]:
        """What each node of the compiled model takes, by the plug-in's counters.

        Raises:
            BuildError: OpenVINO refuses the file, or the CPU plug-in cannot compile it.
            MeasureError: It refuses the feed.
            MissingDependency: openvino is not installed.
        """
        compiled, names = _compiled(path, threads, "default", {"PERF_COUNT": "YES"})
        request = compiled.create_infer_request()
        session = _OpenVinoSession(compiled, names, request.infer)
        nodes: dict[str, Any] = {}
        seconds: dict[str, list[float]] = {}
        session.run(feed)
        for _ in range(calls):
            session.run(feed)
            for node in request.get_profiling_info():
                took = node.real_time.total_seconds()
                if took > 0:  # others were folded into their neighbours
                    nodes[node.node_name] = node
                    seconds.setdefault(node.node_name, []).append(took)
        return tuple(
            OperatorTime(
                name=name,
                operator=nodes[name].node_type,
                seconds=float(np.median(taken)),
                kernel=nodes[name].exec_type,
            )
            for name, taken in seconds.items()
        )


class _OpenVinoSession:
    """A Session over an openvino.CompiledModel, run by `call`; its outputs are called `names`."""

    def __init__(self, compiled: Any, names: Sequence[str], call: Callable[[Any], Any]) -> None:
        self.inputs = tuple(_tensor_type(i, _input_name(i)) for i in compiled.inputs)
        outputs = zip(compiled.outputs, names, strict=True)
        self.outputs = tuple(_tensor_type(output, name) for output, name in outputs)
        self._names = names
        self._dtypes = {t.name: _numpy_type(t.dtype) for t in self.inputs}
        self._bfloat16 = [t.name for t in self.outputs if t.dtype == "bfloat16"]
        self._call = call

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        # OpenVINO itself takes a missing input for an empty one, and casts other types in silence
        given = {name: x.dtype for name, x in feed.items()}
        if given != self._dtypes:
            raise MeasureError(_listed(self._dtypes), _listed(given), "Feed exactly these.")
        try:
            values = self._call(feed).values()
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
            raise MeasureError(
                f"inputs for {', '.join(f'{t.name} {t.dtype} {t.shape}' for t in self.inputs)}",
                f"OpenVINO said: {_short(error)}",
                "Feed one array per input, in its type and shape.",
            ) from error
        outputs = dict(zip(self._names, values, strict=True))
        for name in self._bfloat16:  # come back as the same bits called float16
            outputs[name] = outputs[name].view(_numpy_type("bfloat16"))
        return outputs


def package() -> types.ModuleType:
    """The module openvino, imported without its telemetry.

    `import openvino` sends an event to the network where openvino-telemetry is installed. While it
    is imported here, that optional package counts as absent (None in `sys.modules` makes an import
    fail), and openvino falls back to the silent stand-in that it brings for this case.

    Raises:
        MissingDependency: openvino is not installed.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    before = {k: v for k, v in sys.modules.items() if k.split(".")[0] == TELEMETRY}
    for name in before:
        del sys.modules[name]
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        return plugins.require("openvino", "openvino", "running models with OpenVINO")
    finally:
        del sys.modules[TELEMETRY]
        sys.modules.update(before)


def _compiled(
    path: Path, threads: int, precision: Precision, more: Mapping[str, object] | None = None
) -> tuple[Any, tuple[str, ...]]:
    """The openvino.CompiledModel of a file, and what its outputs are called.

    The plug-in's defaults hold apart from what is given. Names are those of the network as it was
    read: where compiling merges two outputs into one tensor (a Dropout is left out), it gives them
    the name of one.

    Raises:
        BuildError: OpenVINO refuses the file, or the CPU plug-in cannot compile it.
        MissingDependency: openvino is not installed.
    """
    openvino = package()
    options: dict[str, object] = {"INFERENCE_NUM_THREADS": threads, **(more or {})}
    if precision == "f32":
        # where the CPU has bfloat16, OpenVINO's own choice is bfloat16
        options["INFERENCE_PRECISION_HINT"] = "f32"
    try:
        core = openvino.Core()
        network = core.read_model(str(path))
        names = tuple(_output_name(output) for output in network.outputs)
        return core.compile_model(network, "CPU", options), names
    except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
        raise BuildError(
            "a model that OpenVINO's CPU plug-in can compile",
            f"{path.name}: {_short(error)}",
            "An .xml file needs its .bin file beside it.",
        ) from error


def _name_nodes(network: Any) -> None:
    """Give every unnamed node of `network` (edited in place) a name that is the same each time.

    OpenVINO numbers them by a counter of the process, so two builds would give different files.
    """
    nodes = network.get_ordered_ops()
    taken = {n.get_friendly_name() for n in nodes if n.get_friendly_name() != n.get_name()}
    for index, node in enumerate(nodes):
        if node.get_friendly_name() == node.get_name():
            name = f"{node.get_type_name()}.{index}"
            while name in taken:
                name += "."
            node.set_friendly_name(name)
        for body in _bodies(node):
            _name_nodes(body)


def _bodies(node: Any) -> list[Any]:
    """The networks inside If, Loop and TensorIterator."""
    kind = node.get_type_name()
    if kind == "If":
        return [node.get_function(0), node.get_function(1)]
    if kind in {"Loop", "TensorIterator"}:
        return [node.get_function()]
    return []


def _input_name(port: Any) -> str:
    """The ONNX name of an input: the one its Parameter node is called by, if the tensor has many.

    It has many where nodes that OpenVINO leaves out, such as Identity, stood behind it.
    """
    name = str(port.get_node().get_friendly_name())
    return name if name in port.get_names() else str(port.get_any_name())


def _output_name(output: Any) -> str:
    """The ONNX name of an output: the one its Result node is called by, if the tensor has many."""
    name = str(output.get_node().get_friendly_name()).rsplit("/sink_port_", 1)[0]
    return name if name in output.get_names() else str(output.get_any_name())


def _tensor_type(port: Any, name: str) -> TensorType:
    kind = str(port.get_element_type().get_type_name())
    if kind not in NUMPY_NAMES:
        raise BuildError(
            "inputs and outputs that are tensors of numbers",
            f"{name!r} of type {kind}",
            "Export the model without string values at its border.",
        )
    partial = port.get_partial_shape()
    shape = None
    if not partial.rank.is_dynamic:
        shape = tuple(None if d.is_dynamic else int(d.get_length()) for d in partial)
    return TensorType(name=name, dtype=NUMPY_NAMES[kind], shape=shape)


def _numpy_type(name: str) -> np.dtype[np.generic]:
    if name == "bfloat16":
        import ml_dtypes

        extended: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)
        return extended
    return np.dtype(name)


def _listed(dtypes: Mapping[str, np.dtype[np.generic]]) -> str:
    return ", ".join(f"{name} {dtype.name}" for name, dtype in dtypes.items()) or "no inputs"


def _short(error: Exception) -> str:
    """OpenVINO's message without the lines that name its own source files, on one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("Exception from "))
