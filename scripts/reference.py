"""Write docs/reference.md: every plug-in family, its members, their options and defaults.

`make docs` runs this; a test compares the page with what it would write.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path

from gossamer import plugins

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
HEAD = """# Reference: every plug-in

Written by `make docs` from the docstrings; do not edit. A name here is a file name in the family's
folder and the name that the command line and recipes use.
"""


def page() -> str:
    """The whole text of the page."""
    return "\n".join([HEAD, *(_section(family) for family in plugins.FAMILIES)])


def _section(family: str) -> str:
    package = plugins.FAMILIES[family][0]
    lines = [f"## {family}", "", f"Folder: `src/{package.replace('.', '/')}/`.", ""]
    lines += ["| name | what it is | options |", "|---|---|---|"]
    for name in plugins.names(family):
        member = plugins.load(family, name)
        what = inspect.getdoc(member if isinstance(member, type) else _module(package, name)) or ""
        lines.append(f"| `{name}` | {what.splitlines()[0]} | {_options(member)} |")
    return "\n".join([*lines, ""])


def _module(package: str, name: str) -> object:
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")


def _options(member: object) -> str:
    if not isinstance(member, type):
        return ""
    fields = dataclasses.fields(member)  # type: ignore[arg-type]
    return ", ".join(f"`{f.name.replace('_', '-')}`{_default(f)}" for f in fields if f.init)


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is not dataclasses.MISSING:
        value = plugins.dump(field.default) if _is_plugin(field.default) else field.default
        return f" = `{value}`"
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        return f" = `{plugins.dump(value) if _is_plugin(value) else value}`"
    return ""


def _is_plugin(value: object) -> bool:
    return any(plugins.family_of(base) for base in type(value).__mro__)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
