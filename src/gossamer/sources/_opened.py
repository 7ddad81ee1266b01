"""Opened models in the cache: written once, whole or not at all, and found again by digest."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer import store
from gossamer.errors import SourceError, StorageError
from gossamer.source import FloatModel, TensorType
from gossamer.sources._onnx_read import byte_size, tensors
from gossamer.sources._signature import read_signature

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx_ir as ir

    from gossamer.sources._signature import Signature

FILE = "model.onnx"
WEIGHTS = "model.onnx.data"
SINGLE_FILE_LIMIT = 1_500_000_000
_RECORD = "source.json"
_VERSION = 1
_ABANDONED_SECONDS = 6 * 3600

Description = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedGraph:
    """A graph in the cache, and what is known of it."""

    path: Path
    signature: Signature
    description: Description

    def model(self, digest: str, *, kind: str, origin: str) -> FloatModel:
        """The opened source, without what only a folder source has."""
        inputs, outputs = self.signature
        return FloatModel(
            path=self.path,
            inputs=inputs,
            outputs=outputs,
            digest=digest,
            description=(("kind", kind), ("origin", origin), *self.description),
        )


def opened(cache: Path, key: str, write: Callable[[Path], Description]) -> OpenedGraph:
    """The graph under `key`; if it is not there, `write` puts it into the folder it is given.

    Raises:
        StorageError: The cache cannot be written.
    """
    folder = cache / "source" / key
    found = _found(folder)
    if found is None:
        with store.told_apart(cache):
            _remove_abandoned(folder.parent)
            with store.folder(folder) as scratch:
                _record(scratch, write(scratch))
        found = _found(folder)
    if found is None:
        raise StorageError(f"the opened model in {folder}", "an incomplete folder")
    return found


def save(model: ir.Model, folder: Path, *, external: bool) -> None:
    """Writes `model.onnx` into `folder`, with the weights beside it if asked for or too large.

    Raises:
        SourceError: The graph holds something that ONNX has no words for.
    """
    import onnx_ir as ir

    _load_attributes(model)
    is_external = external or byte_size(tensors(model)) > SINGLE_FILE_LIMIT
    try:
        ir.save(model, folder / FILE, external_data=WEIGHTS if is_external else None)
    except (ir.serde.SerdeError, ValueError, TypeError) as error:
        raise SourceError(
            "a graph that can be written as ONNX again",
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "The file is damaged: export the model again.",
        ) from error


def _load_attributes(model: ir.Model) -> None:
    """Takes external tensors in node attributes into memory: only initializers are saved apart."""
    import onnx_ir as ir

    for graph in model.graphs():
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                if attribute.is_ref() or not isinstance(attribute.value, ir.ExternalTensor):
                    continue
                tensor = attribute.value
                copy = ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)
                node.attributes[name] = ir.AttrTensor(name, copy)


def _record(folder: Path, description: Description) -> None:
    inputs, outputs = read_signature(folder / FILE)
    record = {
        "version": _VERSION,
        "files": {p.name: p.stat().st_size for p in sorted(folder.iterdir())},
        "inputs": [dataclasses.asdict(t) for t in inputs],
        "outputs": [dataclasses.asdict(t) for t in outputs],
        "description": description,
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _found(folder: Path) -> OpenedGraph | None:
    """What lies there, unless it is absent, damaged or of another version: then it is made anew."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        if record["version"] != _VERSION or any(
            (folder / name).stat().st_size != size for name, size in record["files"].items()
        ):
            return None
        signature = (_types(record["inputs"]), _types(record["outputs"]))
        description = tuple((str(k), str(v)) for k, v in record["description"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return OpenedGraph(path=folder / FILE, signature=signature, description=description)


def _types(records: list[dict[str, object]]) -> tuple[TensorType, ...]:
    return tuple(
        TensorType(
            name=str(r["name"]),
            dtype=str(r["dtype"]),
            shape=None if r["shape"] is None else tuple(r["shape"]),  # type: ignore[arg-type]
        )
        for r in records
    )


def _remove_abandoned(folder: Path) -> None:
    """Removes what killed processes left half-written; no opening takes so long."""
    for left in folder.glob(".*.*"):
        if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
