"""A session over a TensorRT engine, with buffers on the GPU."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import plugins
from gossamer.errors import BuildError, MeasureError
from gossamer.source import TensorType

if TYPE_CHECKING:
    import types
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gossamer.runtime import Feed

NUMPY_NAMES = {  # of tensorrt.DataType
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "BOOL": "bool",
    **{name: name.lower() for name in ("INT8", "INT32", "INT64", "UINT8")},
}


class TensorRtSession:
    """A Session over a tensorrt.ICudaEngine; every run copies to the GPU and back.

    Reference: TensorRT's Python API, `IExecutionContext.execute_async_v3`; CUDA Runtime API.

    Args:
        trt: The module tensorrt.
        engine: The engine.
        owners: What the engine needs alive: its runtime, and a logger with `messages`.

    Raises:
        BuildError: The engine has inputs or outputs that are no tensors on the GPU.
        MissingDependency: cuda-python is not installed.
    """

    def __init__(self, trt: types.ModuleType, engine: Any, owners: tuple[Any, Any]) -> None:
        self._device = _Device()
        self._owners, self._engine = owners, engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise BuildError(
                "room for the engine's activations on the GPU", " ".join(owners[1].messages)
            )
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        for name in names:
            if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
                raise BuildError(
                    "inputs and outputs that are data", f"{name!r}, which is the shape of something"
                )
        found = {
            n: tensor_type(n, engine.get_tensor_dtype(n), engine.get_tensor_shape(n)) for n in names
        }
        inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.inputs = tuple(found[n] for n in inputs)
        self.outputs = tuple(found[n] for n in names if n not in inputs)

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        """All outputs by name.

        Raises:
            MeasureError: The inputs do not fit, or the GPU failed.
        """
        self._check(feed)
        for tensor in self.inputs:
            array = np.ascontiguousarray(feed[tensor.name])
            if not self._context.set_input_shape(tensor.name, array.shape):
                raise self._unfit(f"{tensor.name} {tensor.dtype} {array.shape}")
            address = self._device.upload(tensor.name, array)
            self._context.set_tensor_address(tensor.name, address)
        outputs: Feed = {}
        for tensor in self.outputs:
            shape = tuple(self._context.get_tensor_shape(tensor.name))
            if any(size < 0 for size in shape):
                raise MeasureError(
                    "outputs whose size follows from that of the inputs", f"{tensor.name} {shape}"
                )
            outputs[tensor.name] = np.empty(shape, numpy_type(tensor.dtype))
            address = self._device.reserve(tensor.name, outputs[tensor.name].nbytes)
            self._context.set_tensor_address(tensor.name, address)
        if not self._context.execute_async_v3(int(self._device.stream)):
            raise self._unfit("a run that TensorRT refused")
        for name, array in outputs.items():
            self._device.download(name, array)
        self._device.wait()
        return outputs

    def _check(self, feed: Mapping[str, NDArray[np.generic]]) -> None:
        wanted = {t.name: numpy_type(t.dtype) for t in self.inputs}
        if {name: array.dtype for name, array in feed.items()} != wanted:
            given = ", ".join(f"{name} {array.dtype.name}" for name, array in feed.items())
            raise self._unfit(given or "no inputs")

    def _unfit(self, received: str) -> MeasureError:
        said = " ".join(self._owners[1].messages)
        self._owners[1].messages.clear()
        return MeasureError(
            f"inputs for {', '.join(f'{t.name} {t.dtype} {t.shape}' for t in self.inputs)}",
            f"{received}; {said}" if said else received,
            "Feed one array per input, in its type and a shape that the engine was built for.",
        )


class _Device:
    """A stream and named buffers on the first GPU; they go when this goes."""

    def __init__(self) -> None:
        self._cuda = plugins.require("cuda.bindings.runtime", "tensorrt", "memory on the GPU")
        self.stream = _checked(self._cuda.cudaStreamCreate())
        self._buffers: dict[str, tuple[int, int]] = {}  # address and bytes
        weakref.finalize(self, _free, self._cuda, self._buffers, self.stream)

    def reserve(self, name: str, size: int) -> int:
        """The address of a buffer with at least `size` bytes."""
        address, room = self._buffers.get(name, (0, 0))
        if address and room >= size:
            return address
        if address:
            del self._buffers[name]
            _checked(self._cuda.cudaFree(address))
        address = int(_checked(self._cuda.cudaMalloc(max(size, 1))))
        self._buffers[name] = (address, size)
        return address

    def upload(self, name: str, array: NDArray[np.generic]) -> int:
        """The address of a copy of `array`."""
        address = self.reserve(name, array.nbytes)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        # not asynchronous: the caller may drop the array
        _checked(self._cuda.cudaMemcpy(address, array.ctypes.data, array.nbytes, kind))
        return address

    def download(self, name: str, array: NDArray[np.generic]) -> None:
        """Fill `array` from a buffer, once the stream gets there."""
        kind, source = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost, self._buffers[name][0]
        _checked(
            self._cuda.cudaMemcpyAsync(array.ctypes.data, source, array.nbytes, kind, self.stream)
        )

    def wait(self) -> None:
        """Return when the stream is empty."""
        _checked(self._cuda.cudaStreamSynchronize(self.stream))


def _free(cuda: types.ModuleType, buffers: dict[str, tuple[int, int]], stream: Any) -> None:
    for address, _ in buffers.values():
        cuda.cudaFree(address)
    cuda.cudaStreamDestroy(stream)


def _checked(result: tuple[Any, ...]) -> Any:
    """What a call of CUDA gave behind its error code; None if nothing.

    Raises:
        MeasureError: It failed.
    """
    code, *values = result
    if int(code) != 0:
        raise MeasureError("a GPU that does as CUDA says", str(code), "Is its memory full?")
    return values[0] if values else None


def tensor_type(name: str, dtype: Any, shape: Sequence[int]) -> TensorType:
    """What TensorRT says of a tensor; open axes are -1 there.

    Raises:
        BuildError: It is of a type that numpy does not have.
    """
    if dtype.name not in NUMPY_NAMES:
        raise BuildError(
            "inputs and outputs that are tensors of numbers", f"{name!r} of type {dtype.name}"
        )
    sizes = tuple(size if size >= 0 else None for size in shape)
    return TensorType(name=name, dtype=NUMPY_NAMES[dtype.name], shape=sizes)


def numpy_type(name: str) -> np.dtype[np.generic]:
    """The type of an array."""
    if name == "bfloat16":
        import ml_dtypes

        extended: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)
        return extended
    return np.dtype(name)
