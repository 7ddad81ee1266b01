"""Torch modules written into the cache as checked graphs."""

from __future__ import annotations

import hashlib
import importlib.metadata
from typing import TYPE_CHECKING

from gossamer.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from gossamer.source import FloatModel, TrainableModel
    from gossamer.sources._opened import Description


def exported(model: TrainableModel, cache: Path, *, kind: str, origin: str) -> FloatModel:
    """The module as a checked graph, from the cache if it is there.

    Raises:
        ExportError: It cannot be exported, or the graph disagrees with it.
        SourceError: NaN or Inf in its weights.
    """
    from gossamer.sources._opened import opened

    found = opened(
        cache,
        export_key(model.digest),
        lambda folder: write_module(model, folder, origin),
    )
    return found.model(model.digest, kind=kind, origin=origin)


def export_key(digest: str) -> str:
    """The cache key of a module's graph: the module, and the packages that export it."""
    versions = [f"{name} {_version(name)}" for name in ("torch", "transformers", "onnxscript")]
    return hashlib.sha256("\n".join([digest, *versions]).encode()).hexdigest()[:16]


def write_module(model: TrainableModel, folder: Path, origin: Path | str) -> Description:
    """What the report says of the module, whose checked graph now lies in `folder`.

    The graph carries the ranges that the module was trained with.

    Raises:
        ExportError: It cannot be exported, or the graph disagrees with it.
        SourceError: NaN or Inf in its weights.
    """
    from gossamer.export.to_graph import OPSET, check_graph
    from gossamer.export.trained import trained_graph
    from gossamer.sources import _opened

    module, example = model.module, model.example
    _check_weights(module, origin)
    _opened.save(trained_graph(module, example, model.ranges), folder, external=False)
    check_graph(module, example, folder / _opened.FILE)
    return (
        ("module", type(module).__name__),
        ("parameters", f"{sum(p.numel() for p in module.parameters()):,}"),
        ("opset", f"{OPSET} (exported by torch {_version('torch')}, outputs agree)"),
    )


def _check_weights(module: nn.Module, origin: Path | str) -> None:
    """Parameters must be numbers; buffers may hold the infinities of masks."""
    weights = dict(module.named_parameters())
    for name, tensor in module.state_dict(keep_vars=True).items():
        bad = "NaN" if tensor.isnan().any() else "Inf" if tensor.isinf().any() else None
        if bad == "NaN" or (bad and name in weights):
            raise SourceError(
                "finite weights",
                f"{bad} in {name!r} of {origin}",
                "The model was damaged in training or export; no runtime can use such weights.",
            )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
