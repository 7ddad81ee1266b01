"""One measurement at a time on a machine."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gossamer import store


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Wait until no other process of this user times anything with gossamer, then go in.

    Searches that share a machine may build and score side by side; two that are timed at once would
    each measure the other. Not to be nested.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    path = Path(tempfile.gettempdir()) / f"gossamer-measuring-{user}"
    if path.exists() and path.stat().st_uid != user:  # somebody else's, in a folder of all users
        yield
        return
    with store.alone(path):
        yield
