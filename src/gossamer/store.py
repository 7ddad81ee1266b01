"""Results that survive a kill at any moment: atomic files and folders, and a study of trials."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from gossamer.artifact import sha256
from gossamer.errors import OutputError, StorageError

SCHEMA = "CREATE TABLE IF NOT EXISTS trials (id TEXT PRIMARY KEY, document TEXT NOT NULL)"


@contextlib.contextmanager
def told_apart(folder: Path) -> Iterator[None]:
    """Turns operating system errors while writing under `folder` into a StorageError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"room and permission to write under {folder}",
            f"{type(error).__name__}: {error}",
            "Free some space, then run the same command with --resume: finished work is kept.",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: readers see the old content or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    with told_apart(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """A scratch folder that becomes `path` when the block ends well, and vanishes when not.

    An existing `path` is replaced; at every moment it is the old folder, absent, or the new one.
    """
    with told_apart(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield scratch
        with told_apart(path.parent):
            scratch.chmod(0o755)
            old = scratch.with_name(f"{scratch.name}.old")
            if path.exists():
                path.rename(old)
            scratch.rename(path)
            shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is inside of such a block for the same path, then go in.

    A process that dies leaves it. Where the system has no such locks, nobody waits.

    Args:
        path: A folder that exists, or a file that is made where it does not.
    """
    with _locked(path) as lock:
        if lock is not None:
            lock(is_shared=False, waits=True)
        yield


@contextlib.contextmanager
def present(folder: Path) -> Iterator[bool]:
    """Work in a folder, together with others that do; whether there are none.

    A process that dies is not there any more.
    """
    with _locked(folder) as lock:
        is_first = lock is None or lock(is_shared=False, waits=False)
        if lock is not None:
            lock(is_shared=True, waits=True)
        yield is_first


class _Lock(Protocol):
    def __call__(self, *, is_shared: bool, waits: bool) -> bool: ...


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[_Lock | None]:
    """Locks the path, which says whether it could; None where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    with told_apart(path.parent):
        if path.is_dir():
            handle = os.open(path, os.O_RDONLY)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def lock(*, is_shared: bool, waits: bool) -> bool:
        kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        try:
            fcntl.flock(handle, kind | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    try:
        yield lock
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """sha256 of a file, or of all files in a folder with their relative names."""
    if path.is_file():
        return sha256(path)
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path)}\0{sha256(file)}\n".encode())
    return total.hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing happens if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise unless a folder can be made at `path`.

    Raises:
        OutputError: `path` is a file, or its nearest existing parent cannot be written.
    """
    parent = path
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"a folder at {path}", f"the file {parent}", "Name another --out.")
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise OutputError(
            f"permission to write in {parent}", str(error), "Name another --out."
        ) from error


def claim(out: Path, *, resume: bool, overwrite: bool) -> bool:
    """Whether work in the output folder `out` goes on with what lies there; nothing is written.

    Raises:
        OutputError: It cannot be written, or holds what neither option allows.
    """
    if resume and overwrite:
        raise OutputError("--resume or --overwrite", "both", "Choose one.")
    check_writable(out)
    if not out.exists() or not any(out.iterdir()) or overwrite:
        return False
    if not resume:
        raise OutputError(
            f"an output folder that is empty or absent at {out}",
            "a folder with files",
            "Use --resume to go on with it, --overwrite to replace it, or another --out.",
        )
    return True


def check_same(earlier: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise unless what is asked for is what a folder was made for.

    Raises:
        OutputError: Something that was known then is otherwise now.
    """
    if changed := [k for k, v in asked.items() if k in earlier and earlier[k] != v]:
        raise OutputError(
            "the same request that the folder was made for",
            f"other values of {', '.join(changed)}",
            "Resume with the same options, files and data, or use another --out.",
        )


class Study:
    """Trials of one output folder in SQLite; each lands the moment it is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with told_apart(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as database:
                database.execute(SCHEMA)

    def put(self, identity: str, document: dict[str, Any]) -> None:
        """Keep one finished trial; the same identity again replaces it."""
        text = json.dumps(document, default=float)
        with told_apart(self.path.parent), self._open() as database:
            database.execute("INSERT OR REPLACE INTO trials VALUES (?, ?)", (identity, text))

    def get(self, identity: str) -> dict[str, Any] | None:
        """A finished trial, None if there is none."""
        with told_apart(self.path.parent), self._open() as database:
            row = database.execute(
                "SELECT document FROM trials WHERE id = ?", (identity,)
            ).fetchone()
        return json.loads(row[0]) if row else None

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=30)
        try:
            with database:
                yield database
        finally:
            database.close()
