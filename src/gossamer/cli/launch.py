"""The command in one of several processes that were launched together."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def launched() -> Iterator[int]:
    """The number of this process among those of `torchrun`; 0 for the first or only one."""
    yield int(os.environ.get("RANK", "0"))
    if "torch" in sys.modules:  # else nothing was trained
        from gossamer.train import processes

        processes.leave()
