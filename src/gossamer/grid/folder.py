"""The output folder of a sweep: claimed, gone on with, or found finished."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gossamer import store
from gossamer.errors import OutputError

STUDY = "study.db"
DOCUMENT = "sweep.json"
State = Literal["new", "begun", "finished"]


def claimed(out: Path, *, resume: bool, overwrite: bool) -> State:
    """In which state `out` is; nothing is written.

    Raises:
        OutputError: It cannot be written, or holds what neither option allows.
    """
    if not store.claim(out, resume=resume, overwrite=overwrite):
        return "new"
    if not (out / STUDY).exists() or (out / "candidates").exists():
        raise OutputError(
            f"a folder that sweep wrote at {out}",
            "another one",
            "Name the folder of the sweep that is to be resumed.",
        )
    return "finished" if (out / DOCUMENT).exists() else "begun"
