"""Packages that crash the processes in which models run."""

from __future__ import annotations

from pathlib import Path

SITE = """
import os, signal, sys

class Crash:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {package!r} and "gossamer.measure.child" in sys.orig_argv:
            os.kill(os.getpid(), signal.SIGSEGV)

sys.meta_path.insert(0, Crash)
"""


def at_import(package: str, folder: Path) -> Path:
    """A folder for PYTHONPATH with which a model's process dies where it looks for `package`."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE.format(package=package))
    return folder
