"""One file is one input format."""

from __future__ import annotations

import dataclasses
import difflib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer import plugins, store
from gossamer.errors import BuildError, SourceError

if TYPE_CHECKING:
    from gossamer.source import FloatModel, Source


def find(text: str) -> Source:
    """The source that a user's text names; nothing is opened.

    A path is an ONNX file or a Hugging Face folder, `package.module:factory` a torch callable,
    and `org/name` that is no path a Hugging Face hub id.

    Raises:
        SourceError: No source knows such a text; the message lists what lies near it.
    """
    for name in plugins.names("sources"):
        source: type[Source] = plugins.load("sources", name)
        if source.matches(text):
            found = source(text=text)
            if _is_missing_file(text):
                break
            return found
    raise SourceError(
        "a model: an ONNX file, a Hugging Face folder or hub id, or package.module:factory",
        f"{text!r}, which {'is no model folder' if Path(text).is_dir() else 'does not exist'}",
        nearby(Path(text)),
    )


def raised(model: FloatModel, opset: int, cache: Path) -> FloatModel:
    """An opened model in a newer opset, written under `cache`; its outputs were compared.

    Raises:
        SourceError: The converter knows no way there, the outputs differ, or nothing runs it.
    """
    from gossamer.sources import _lift, _opened
    from gossamer.sources._onnx_read import external_files, read_model

    def write(folder: Path) -> tuple[tuple[str, str], ...]:
        graph = read_model(model.path)
        is_external = bool(external_files(graph))
        _opened.save(_lift.convert(graph, opset, model.path), folder, external=is_external)
        return (("opset", _lift.agreement(model.path, folder / _opened.FILE, opset)),)

    found = _opened.opened(cache, f"{model.digest[:16]}-{opset}", write)
    return dataclasses.replace(model, path=found.path)


def lower(path: Path, opset: int, *, tolerance: float) -> None:
    """Say the graph of a finished ONNX file in an older opset, in place; outputs are compared.

    Args:
        path: The file; weights that lie beside it stay so.
        opset: The older one.
        tolerance: How far outputs may lie apart, in shares of the largest.

    Raises:
        BuildError: A node cannot be said in it, or the outputs differ.
        StorageError: Nothing can be written beside the file.
    """
    from gossamer.sources import _lift, _lower, _opened
    from gossamer.sources._onnx_read import external_files, read_model

    with store.told_apart(path.parent), tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        graph = read_model(path)
        is_external = bool(external_files(graph))
        _lower.lower(graph, opset)
        _lift.name_apart(graph)
        _opened.save(graph, Path(scratch), external=is_external)
        try:
            gap, told = _lift.compared(path, Path(scratch) / _opened.FILE)
        except Exception as error:
            gap, told = None, f"{type(error).__name__}: {error}"
        if gap is None or gap > tolerance:
            raise BuildError(
                f"a file that computes the same in opset {opset}",
                told if gap is None else f"a difference of {gap:.3g} in the output {told!r}",
                "Take a newer opset, or none.",
            )
        for file in Path(scratch).iterdir():
            file.replace(path if file.name == _opened.FILE else path.parent / file.name)


def moved(model: FloatModel, scratch: Path, cache: Path) -> FloatModel:
    """An opened model in the cache of an output folder, which holds what `scratch` did.

    Raises:
        StorageError: The cache cannot be written.
    """
    with store.folder(cache) as folder, store.told_apart(cache):
        shutil.copytree(scratch, folder, dirs_exist_ok=True)
    if not model.path.is_relative_to(scratch):
        return model
    return dataclasses.replace(model, path=cache / model.path.relative_to(scratch))


def nearby(path: Path) -> str:
    """A hint that names what a user may have meant instead of `path`."""
    folder = path if path.is_dir() else path.parent
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return f"There is no folder {folder} either; give a path from the current directory."
    models = [name for name in names if name.endswith(".onnx")]
    if path.is_dir():
        held = f"It holds {', '.join(models[:5])}: give that file." if models else ""
        return held or "A Hugging Face folder holds config.json and model.safetensors."
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5) or models[:3]
    if near:
        return f"Did you mean {' or '.join(str(folder / name) for name in near)}?"
    return f"No model lies in {folder.resolve()}; check the path."


def _is_missing_file(text: str) -> bool:
    path = Path(text)
    return path.suffix == ".onnx" and not path.exists()
