"""What `import gossamer` offers: exactly the names in `__all__`."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import gossamer

# in a fresh interpreter: modules that other tests imported would be attributes here
LIST_NAMES = """
import gossamer, types
names = {n: getattr(gossamer, n) for n in dir(gossamer) if not n.startswith("_")}
print(*sorted(n for n, v in names.items() if not isinstance(v, types.ModuleType)))
"""
FUTURE = {"annotations"}  # what `from __future__ import annotations` leaves behind


def test_visible_names_are_the_names_in_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIST_NAMES], capture_output=True, text=True, check=True, timeout=60
    )

    public = {name for name in gossamer.__all__ if not name.startswith("_")}
    assert set(done.stdout.split()) - FUTURE == public


def test_every_public_class_and_function_is_documented() -> None:
    for name in gossamer.__all__:
        value = getattr(gossamer, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name


def test_compress_stays_the_function_when_its_module_is_imported() -> None:
    importlib.import_module("gossamer.compress")

    assert inspect.isfunction(gossamer.compress)


def test_a_function_comes_before_a_module_that_was_imported_first() -> None:
    code = "import gossamer.bench\nimport gossamer.explain\nprint(gossamer.bench, gossamer.inspect)"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.count("<function") == 2


def test_a_public_name_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gossamer.check
    with monkeypatch.context() as patch:
        patch.setattr(gossamer, "check", len)
        assert gossamer.check is len

    assert gossamer.check is before


def test_compress_takes_the_options_of_the_command_line() -> None:
    options = inspect.signature(gossamer.compress).parameters

    assert {"model", "task", "data", "max_drop", "targets"} <= set(options)
