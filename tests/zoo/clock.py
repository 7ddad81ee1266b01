"""Whole commands that time their models for moments only, where nobody looks at times."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

import pytest

SECONDS = {
    "gossamer.measure.measure": {
        "MIN_BLOCKS": 4,
        "BLOCK_SECONDS": 0.002,
        "WARM_UP_SECONDS": 0.005,
    },
    "gossamer.search.trial": {"SECONDS_PER_SESSION": 0.005},
    "gossamer.search.finalists": {"SECONDS": 0.005, "LONG_SECONDS": 0.005},
    "gossamer.stages": {"SECONDS": 0.005},
    "gossamer.timed": {"SECONDS": 0.005},
}


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Inside of it, this process is quick."""
    with pytest.MonkeyPatch.context() as patch:
        for module, values in SECONDS.items():
            for name, value in values.items():
                patch.setattr(importlib.import_module(module), name, value)
        yield


# the same for a process of its own, in front of what it runs
QUICK = f"""
import importlib
for module, values in {SECONDS!r}.items():
    vars(importlib.import_module(module)).update(values)
"""
