"""Files that a recipe made, and how they came about."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gossamer.plan import Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A model as a runtime loads it.

    Attributes:
        folder: Where the files lie.
        files: File names in it; the first is the one to open.
        runtime: Name of the runtime.
        target: Public name of the target.
        recipe: Digest of the recipe.
        plan: What happened at every site; None for float models.
        elsewhere: What is left to do where the runtime is; empty if it is here and took the files.
    """

    folder: Path
    files: tuple[str, ...]
    runtime: str
    target: str
    recipe: str
    plan: Plan | None = None
    elsewhere: str = ""

    @property
    def path(self) -> Path:
        """The file to open."""
        return self.folder / self.files[0]

    @property
    def size_bytes(self) -> int:
        """Size of all files on disk."""
        return sum((self.folder / name).stat().st_size for name in self.files)

    def sha256(self) -> dict[str, str]:
        """Digest of each file."""
        return {name: sha256(self.folder / name) for name in self.files}


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
