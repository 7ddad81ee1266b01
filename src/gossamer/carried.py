"""Numbers of values and weights, by name, as text that a model carries in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.quant import QParams

FILE = "ranges.json"  # beside the weights of such a module
TRAINED = "gossamer.trained"  # of a float graph: ranges that its module was trained with


def dump(numbers: Mapping[str, QParams]) -> str:
    """The text."""
    return json.dumps({name: _plain(each) for name, each in numbers.items()})


def parse(text: str | None) -> dict[str, QParams]:
    """What a text says; nothing where there is none, or one that `dump` did not write."""
    try:
        found = dict(_parsed(json.loads(text))) if text else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return found if all(_is_usable(each) for each in found.values()) else {}


def beside(folder: Path) -> dict[str, QParams]:
    """What the module whose weights lie in `folder` was trained with."""
    path = folder / FILE
    return parse(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _plain(numbers: QParams) -> dict[str, object]:
    return {
        "scale": numbers.scale.tolist(),
        "zero": numbers.zero_point.tolist(),
        "dtype": str(numbers.zero_point.dtype),
        "axis": numbers.axis,
    }


def _parsed(plain: dict[str, dict[str, Any]]) -> Iterator[tuple[str, QParams]]:
    for name, each in plain.items():
        axis = each["axis"]
        yield (
            name,
            QParams(
                scale=np.asarray(each["scale"], np.float32),
                zero_point=np.asarray(each["zero"], np.dtype(str(each["dtype"]))),
                axis=axis if isinstance(axis, int) else None,
            ),
        )


def _is_usable(numbers: QParams) -> bool:
    is_positive = bool(np.isfinite(numbers.scale).all() and (numbers.scale > 0).all())
    return is_positive and numbers.scale.shape == numbers.zero_point.shape
