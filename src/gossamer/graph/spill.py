"""New weights of large models go to disk as they are made, and are read from there when saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from gossamer import store

if TYPE_CHECKING:
    from pathlib import Path

FILE = "spilled.bin"
PAGE = 4096  # where memory maps may begin
LARGE = 1 << 30  # bytes of weights, of models that are spilled


class Spill:
    """Appends tensors to one file in a folder.

    They stay in memory if there is no folder, or the model had less than 1 GiB of weights before.
    """

    def __init__(self, model: ir.Model, folder: Path | None) -> None:
        tensors = [v.const_value for v in model.graph.initializers.values()]
        is_large = sum(tensor.nbytes for tensor in tensors if tensor is not None) > LARGE
        self._folder = folder if is_large else None

    def __call__(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        """The same tensor, read from the file.

        Raises:
            StorageError: The disk is full.
        """
        if self._folder is None:
            return tensor
        with store.told_apart(self._folder), (self._folder / FILE).open("ab") as file:
            file.write(bytes(-file.tell() % PAGE))
            offset = file.tell()
            file.write(tensor.tobytes())
        return ir.ExternalTensor(
            FILE,
            offset,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=tensor.name or "",
            base_dir=self._folder,
        )
