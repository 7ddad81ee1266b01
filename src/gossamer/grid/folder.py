"""The output folder of a sweep: claimed, gone on with, or found finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

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
    if resume and overwrite:
        raise OutputError("--resume or --overwrite", "both", "Choose one.")
    store.check_writable(out)
    if not out.exists() or not any(out.iterdir()) or overwrite:
        return "new"
    if not resume:
        raise OutputError(
            f"an output folder that is empty or absent at {out}",
            "a folder with files",
            "Use --resume to go on with it, --overwrite to replace it, or another --out.",
        )
    if not (out / STUDY).exists() or (out / "candidates").exists():
        raise OutputError(
            f"a folder that sweep wrote at {out}",
            "another one",
            "Name the folder of the sweep that is to be resumed.",
        )
    return "finished" if (out / DOCUMENT).exists() else "begun"


def check_same(study: store.Study, identity: Mapping[str, Any]) -> None:
    """Raise unless the study was made for the same sweep.

    Raises:
        OutputError: The file of the sweep, the model or the data is another one.
    """
    earlier = study.get("request") or {}
    if changed := [k for k, v in identity.items() if k in earlier and earlier[k] != v]:
        raise OutputError(
            "the same sweep that the folder was made for",
            f"other values of {', '.join(changed)}",
            "Resume with the same file and data, or use another --out.",
        )
