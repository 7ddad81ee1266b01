"""The output folder of compress: the winner's files, the recipe and the reports."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gossamer import plugins, store
from gossamer.artifact import sha256

if TYPE_CHECKING:
    from gossamer.result import ReportFormat, Result
    from gossamer.source import FloatModel

# in the order in which they are removed: what says that a run is finished, then what says how far
# it came, then the rest
OURS = (
    "result.json",
    "sweep.json",
    "study.db",
    "study.db-journal",
    "tuning.db",
    "tuning.db-journal",
    "model",
    "recipe.yaml",
    "sweep.yaml",
    "README.md",
    "report.html",
    "candidates",
    "cache",
)


def publish(result: Result, model: FloatModel, record: dict[str, Any]) -> Result:
    """The result with its winner in `model/`, after that, `recipe.yaml` and reports are written.

    `result.json` is the last: a folder that has it is complete.

    Raises:
        StorageError: The disk is full or the folder vanished.
    """
    out, winner = result.out, result.winner
    if winner is not None and winner.path is not None:
        files = dict(winner.files)
        with store.folder(out / "model") as scratch, store.told_apart(out):
            for name in winner.files:
                shutil.copy2(out / winner.path / name, scratch / name)
            for companion in model.companions:
                if companion.name not in winner.files:
                    shutil.copy2(companion, scratch / companion.name)
                    files[companion.name] = sha256(companion)
        store.write_text(out / "recipe.yaml", yaml.safe_dump(record, sort_keys=False))
        result = dataclasses.replace(
            result, winner=dataclasses.replace(winner, path="model", files=files)
        )
    formats: list[ReportFormat] = [plugins.load("formats", n)() for n in plugins.names("formats")]
    own = [member for member in formats if member.is_in_folder]
    for member in sorted(own, key=lambda f: f.file_name == "result.json"):
        store.write_text(out / member.file_name, member.render(result))
    return result


def is_ours(name: str) -> bool:
    """Whether compress or sweep write a file or folder of that name, or its scratch."""
    return name in OURS or name.startswith(tuple(f".{known}." for known in OURS))


def begin(out: Path) -> None:
    """An output folder without anything of an earlier run.

    Raises:
        StorageError: The folder cannot be changed.
    """
    with store.told_apart(out):
        out.mkdir(parents=True, exist_ok=True)
    clear(out)


def clear(out: Path) -> None:
    """Remove everything that compress or sweep wrote into `out`, and nothing else.

    Raises:
        StorageError: The folder cannot be changed.
    """
    with store.told_apart(out):
        for name in OURS:
            store.remove(out / name)
    sweep(out)


def sweep(out: Path) -> None:
    """Remove scratch files and folders that a killed run left in `out`.

    Raises:
        StorageError: The folder cannot be changed.
    """
    with store.told_apart(out):
        for leftover in out.iterdir():
            if leftover.name not in OURS and is_ours(leftover.name):
                store.remove(leftover)
        for leftover in (out / "candidates").glob(".*"):
            store.remove(leftover)
