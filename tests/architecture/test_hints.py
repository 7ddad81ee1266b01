"""Errors of the user's making say what to do."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from gossamer import errors

SOURCES = Path(__file__).resolve().parents[2] / "src" / "gossamer"
OWN = {
    name
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.InputError) and kind is not errors.MissingDependency
}


def without_hint(path: Path) -> list[str]:
    """Where a file makes an error of the user's making of two parts."""
    calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    return [
        f"{path.relative_to(SOURCES)}:{call.lineno}"
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in OWN
        if len(call.args) + len(call.keywords) < 3
        if not any(isinstance(argument, ast.Starred) for argument in call.args)
    ]


def test_every_error_of_the_users_making_has_a_hint() -> None:
    found = [where for path in sorted(SOURCES.rglob("*.py")) for where in without_hint(path)]

    assert found == []
