"""Stock PyTorch on the CPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gossamer import plugins
from gossamer.errors import BuildError, GossamerError, MeasureError
from gossamer.runtime import Runtime
from gossamer.runtimes import _onnxruntime
from gossamer.source import TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Precision, Session
    from gossamer.runtimes._torch_program import Program


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchCpu(Runtime):
    """PyTorch's own CPU kernels, called one after the other; int8 products run in oneDNN.

    The file stays an ONNX file. It is read anew by each session, nothing is compiled and no code
    comes out of a file. It runs only where it is named: ONNX Runtime was faster in everything that
    was measured.
    """

    is_default: ClassVar[bool] = False

    def is_installed(self) -> bool:
        """Whether torch is there."""
        return importlib.util.find_spec("torch") is not None

    def version(self) -> str:
        """The version of torch."""
        plugins.require("torch", "torch", "running models with PyTorch")
        return importlib.metadata.version("torch")

    def build(self, model: Path, folder: Path) -> tuple[Path, ...]:
        """`model.onnx`, and `model.onnx.data` where the weights lie beside the graph.

        Raises:
            BuildError: The file is no model, or holds an operator that torch is not called for.
            MissingDependency: torch is not installed.
        """
        files = _onnxruntime.copy(model, folder)
        self.open(files[0], threads=1)
        return files

    def open(
        self,
        path: Path,
        *,
        threads: int,
        precision: Precision = "default",  # torch computes in the types of the file anyway
    ) -> Session:
        """A session that owns torch's one pool of threads in this process.

        Raises:
            BuildError: The file is no model, or holds an operator that torch is not called for.
            MissingDependency: torch is not installed.
        """
        torch = plugins.require("torch", "torch", "running models with PyTorch")
        from gossamer.runtimes import _torch_program

        model = _graph(path)
        inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
        types = (
            tuple(_tensor_type(v) for v in inputs),
            tuple(_tensor_type(v) for v in model.graph.outputs),
        )
        try:
            program = _torch_program.read(model)
        except GossamerError:
            raise
        except Exception as error:  # whatever a kernel raises over constants that do not fit
            raise BuildError(
                "a model that torch's kernels can run", f"{path.name}: {error}"
            ) from error
        torch.set_num_threads(threads)
        return _TorchSession(types, program)


class _TorchSession:
    """A Session over the calls that were made of a graph."""

    def __init__(
        self, types: tuple[tuple[TensorType, ...], tuple[TensorType, ...]], program: Program
    ) -> None:
        self.inputs, self.outputs = types
        self._program = program

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        import torch

        from gossamer.runtimes._torch_node import from_numpy

        needed = f"inputs for {', '.join(f'{t.name} {t.dtype} {t.shape}' for t in self.inputs)}"
        if wrong := _misfit(self.inputs, feed):
            raise MeasureError(needed, wrong, "Feed one array per input, in its type and shape.")
        try:
            with torch.inference_mode():
                scope = {name: from_numpy(np.asarray(x)) for name, x in feed.items()}
                values = self._program.run({**self._program.constants, **scope})
                arrays = [_array(value) for value in values]
        except Exception as error:  # torch raises RuntimeError, IndexError and others
            raise MeasureError(
                needed,
                f"torch said: {error}",
                "Feed one array per input, in its type and shape.",
            ) from error
        return {t.name: array for t, array in zip(self.outputs, arrays, strict=True)}


def _array(value: Any) -> NDArray[np.generic]:
    """A copy: the value may be an input, a constant, or another output."""
    import torch

    if value.dtype == torch.bfloat16:
        import ml_dtypes

        bits = value.contiguous().view(torch.int16).numpy()
        return np.array(bits.view(ml_dtypes.bfloat16))
    return np.array(value.numpy(), order="C")


def _misfit(inputs: tuple[TensorType, ...], feed: Mapping[str, NDArray[np.generic]]) -> str:
    """What is wrong with the arrays, "" if nothing is; torch itself would broadcast and cast."""
    if set(feed) != {t.name for t in inputs}:
        return ", ".join(sorted(feed)) or "nothing"
    for tensor in inputs:
        x = feed[tensor.name]
        sizes = x.shape if tensor.shape is None else tensor.shape
        fits = len(sizes) == x.ndim and all(
            a == b for a, b in zip(sizes, x.shape, strict=True) if isinstance(a, int)
        )
        if x.dtype.name != tensor.dtype or not fits:
            return f"{tensor.name} {x.dtype.name} {x.shape}"
    return ""


def _graph(path: Path) -> ir.Model:
    import onnx_ir as ir

    try:
        model = ir.load(path)
        for value in model.graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value.numpy()  # mapped, so that a missing file is told of here
    except Exception as error:  # protobuf and onnx_ir raise many kinds for broken files
        raise BuildError("an ONNX file", f"{path.name}: {error}", "Is it complete?") from error
    return model


def _tensor_type(value: ir.Value) -> TensorType:
    kind, name = value.dtype, value.name or ""
    if kind is None or kind.is_string():
        raise BuildError(
            "inputs and outputs that are tensors of numbers",
            f"{name!r} of type {'unknown' if kind is None else kind.name.lower()}",
            "Export the model without string, sequence or map values at its border.",
        )
    shape = None
    if value.shape is not None:
        shape = tuple(d if isinstance(d, int) else d.value for d in value.shape)
    return TensorType(name=name, dtype=kind.numpy().name, shape=shape)
