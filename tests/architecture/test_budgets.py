"""Budgets of docs/style.md: small files, small functions, names that say something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))
EVERYTHING = [*SOURCES, *sorted((REPOSITORY / "tests").rglob("*.py"))]

MAX_LINES = 400
MAX_FUNCTION = 60
SAYS_NOTHING = {
    *("util", "helper", "common", "misc", "manager", "handler", "processor", "engine", "wrapper"),
}


def short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, singular."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {part.lower().removesuffix("s") for part in parts}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", EVERYTHING, ids=short)
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_a_function_has_at_most_60_lines(path: Path) -> None:
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(path)}

    assert {name: n for name, n in lengths.items() if n > MAX_FUNCTION} == {}


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_names_of_files_and_classes_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [path.stem, *(n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef))]

    assert {name for name in names if words(name) & SAYS_NOTHING} == set()


def test_the_rule_on_names_sees_through_case_and_plural() -> None:
    assert words("QDQHelpers") & SAYS_NOTHING
    assert words("graph_utils") & SAYS_NOTHING
    assert not words("quantize_static") & SAYS_NOTHING
