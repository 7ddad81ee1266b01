"""From the names of classes to the numbers that a model knows them by."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from gossamer.errors import DataError
from gossamer.tasks._config import label_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gossamer.source import FloatModel

logger = logging.getLogger(__name__)


def number_classes(names: Iterable[str], model: FloatModel, *, folders: bool) -> dict[str, int]:
    """The class number of every name.

    1. The numbers of the model's own configuration, if all names occur there.
    2. Whole numbers count as themselves; as names of folders, by their order.
    3. Any other names by their order.

    Raises:
        DataError: Some names are the model's and others are not.
    """
    found = set(names)
    if _are_numbers(found):
        if folders:
            return {name: i for i, name in enumerate(sorted(found, key=int))}
        return {name: int(float(name)) for name in found}
    known = {_plain(key): value for key, value in label_ids(model).items()}
    # ImageNet's names list synonyms: "tench, Tinca tinca"
    known |= {_plain(k.split(",")[0]): v for k, v in label_ids(model).items() if "," in k}
    strange = sorted(name for name in found if _plain(name) not in known)
    if not strange:
        return {name: known[_plain(name)] for name in found}
    if len(strange) < len(found):
        raise DataError(
            "classes that are all in the model's configuration, or none of them",
            f"{', '.join(strange[:5])} beside names that are",
            f"The model knows: {', '.join(sorted(label_ids(model))[:10])}.",
        )
    return {name: i for i, name in enumerate(sorted(found))}


def check_variety(labels: Sequence[object], path: Path) -> None:
    """Nothing, if there are at least two different labels.

    Raises:
        DataError: One only, so that every model that always answers it would be right.
    """
    counts = Counter(labels)
    if len(counts) == 1:
        raise DataError(
            "at least two different labels",
            f"only {next(iter(counts))!r}, {counts.total()} times in {path}",
            "A score on one class says nothing; check the labels.",
        )


def describe(numbers: dict[str, int]) -> str:
    """The numbering in one line, the first ones if there are many."""
    pairs = sorted(numbers.items(), key=lambda item: item[1])
    text = ", ".join(f"{name}={number}" for name, number in pairs[:12])
    return text + (f", … {len(pairs)} in all" if len(pairs) > 12 else "")


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _are_numbers(names: Iterable[str]) -> bool:
    return all(name.removesuffix(".0").removeprefix("-").isdecimal() for name in names)
