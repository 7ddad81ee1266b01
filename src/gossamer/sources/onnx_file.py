"""ONNX files: any exporter, opset 7 to the newest, with or without external data."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.source import FloatModel, Source

if TYPE_CHECKING:
    import onnx_ir as ir

    from gossamer.sources._opened import Description


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxFile(Source):
    """A model in an ONNX file. Opsets below 18 are lifted, and the outputs compared."""

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether `text` is a file, or is named like an ONNX file."""
        path = Path(text)
        return path.is_file() or (path.suffix == ".onnx" and not path.is_dir())

    def open(self, cache: Path) -> FloatModel:
        """The model in opset 18 or later, without weights among its inputs.

        Raises:
            SourceError: Not a model, truncated, external data missing or outside its folder, an
                opset that cannot be read or lifted, NaN or Inf in the weights.
            StorageError: The cache cannot be written.
        """
        from gossamer.sources._onnx_read import digest_of, external_files, read_model
        from gossamer.sources._opened import opened

        path = Path(self.text)
        model = read_model(path)
        digest = digest_of(path, external_files(model))
        found = opened(cache, digest[:16], lambda folder: _write(model, path, folder))
        return found.model(digest, kind="ONNX file", origin=self.text)


def _write(model: ir.Model, path: Path, folder: Path) -> Description:
    from gossamer.sources import _lift, _opened
    from gossamer.sources._onnx_read import external_files
    from gossamer.sources._signature import signature_of
    from gossamer.sources._weights import check_weights, parameter_count

    signature_of(model)  # refuses inputs and outputs that are no tensors
    check_weights(model, path)
    description = [
        ("producer", f"{model.producer_name or 'unknown'} {model.producer_version or ''}".strip()),
        ("parameters", f"{parameter_count(model):,}"),
    ]
    held = model.graph.opset_imports.get("")
    opset = _lift.wanted_opset(held)
    external = bool(external_files(model))
    is_changed = _tidy(model) or opset != held
    written = folder / _opened.FILE
    if is_changed or external:
        _opened.save(_lift.convert(model, opset, path), folder, external=external)
    else:
        shutil.copyfile(path, written)
    for file in (path, written):
        _lift.check_survives(file, path)
    moved = f"{held}, moved to {opset}" if held not in (None, opset) else f"{opset}"
    if held not in (None, opset):
        moved += f" ({_lift.agreement(path, written, opset)})"
    _lift.check_loads(written, path)
    return (*description, ("opset", moved))


def _tidy(model: ir.Model) -> bool:
    """Edits the graph in place for today's runtimes, and returns whether it changed.

    Weights leave the inputs, where opsets below 9 had to list them and a caller could replace
    them; functions of the model's own, which OpenVINO does not read, are written out; nodes get
    names of their own; and the IR version becomes one that every onnxruntime in use reads.
    """
    from onnx_ir.passes.common import InlinePass

    from gossamer.sources._lift import IR_VERSIONS, name_apart

    graph, is_inlined = model.graph, bool(model.functions)
    if is_inlined:
        InlinePass()(model)
    listed = [value for value in graph.inputs if value.name in graph.initializers]
    for value in listed:
        graph.inputs.remove(value)
    is_changed = name_apart(model) or bool(listed) or is_inlined
    version = min(max(model.ir_version, IR_VERSIONS[0]), IR_VERSIONS[1])
    is_changed |= version != model.ir_version
    model.ir_version = version
    return is_changed
