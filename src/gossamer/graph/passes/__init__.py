"""Simplification and fusion: one file is one pass, a function with the file's name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import onnx_ir as ir


def find(name: str) -> Callable[[ir.Model], ir.Model]:
    """The pass called `name`."""
    stem = name.replace("-", "_")
    module = importlib.import_module(f"gossamer.graph.passes.{stem}")
    return cast("Callable[[ir.Model], ir.Model]", getattr(module, stem))
