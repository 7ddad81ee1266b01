"""The text of the repository: it speaks of the project, not of the machine it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:wor[k]|hom[e]/\w+|User[s]/\w+|roo[t]|op[t])/")
LEFT_BEHIND = re.compile(r"\b(?:TOD[O]\b(?!\(#)|FIXM[E]|XX[X]\b|NotImplemente[d]Error)")


def tracked() -> list[Path]:
    """Files of the repository, new ones included, ignored ones not; none outside a checkout."""
    # the owner of a clone may be another user than the one who tests it
    git = ["git", "-c", "safe.directory=*", "-C", str(REPOSITORY), "ls-files", "-z"]
    done = subprocess.run(
        [*git, "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
    )
    paths = [REPOSITORY / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    files = tracked()
    if not files:
        pytest.skip("this is no git checkout")
    return {str(path.relative_to(REPOSITORY)): read(path) for path in files}


def test_no_file_names_a_path_of_somebodys_machine(texts: dict[str, str]) -> None:
    found = {name: MACHINE_PATH.findall(text) for name, text in texts.items()}

    assert {name: paths for name, paths in found.items() if paths} == {}


def test_nothing_is_left_for_later_without_an_issue(texts: dict[str, str]) -> None:
    found = {name: LEFT_BEHIND.findall(t) for name, t in texts.items() if name.startswith("src/")}

    assert {name: words for name, words in found.items() if words} == {}


def test_no_tracked_file_is_larger_than_a_mebibyte(texts: dict[str, str]) -> None:
    sizes = {name: (REPOSITORY / name).stat().st_size for name in texts}

    assert {name: size for name, size in sizes.items() if size > 1 << 20} == {}
