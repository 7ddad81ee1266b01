"""Write docs/reference.md and a page for each plug-in family in docs/reference, from docstrings.

`make docs` runs this; a test compares the pages with what it would write.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from gossamer import plugins
from gossamer.target import OpRule, TargetSpec

DOCS = Path(__file__).resolve().parents[1] / "docs"
INDEX, PAGES = DOCS / "reference.md", DOCS / "reference"
WRITTEN = "Written by `make docs` from the docstrings; do not edit."
HEAD = f"""# Reference: every plug-in

{WRITTEN} A name here is a file name in the family's folder and the name that the command line and
recipes use.
"""
# where what members do was measured
MEASURED = {
    "targets": "[The same answer on every CPU](../portability.md). "
    "[What is proven of each](../targets.md)",
    "steps": "[What keeps accuracy](../algorithms.md) and "
    "[compress a language model](../guides/compress-a-language-model.md)",
    "roundings": "[What keeps accuracy](../algorithms.md) and "
    "[compress a language model](../guides/compress-a-language-model.md)",
    "ranges": "[What keeps accuracy](../algorithms.md#range-rules)",
}
GUIDES = {"targets": "target", "ranges": "range-rule", "roundings": "rounding", "tasks": "task"}
ATTRIBUTES = re.compile(r"^Attributes:\n((?:    .*\n|\n)+)", re.MULTILINE)
FIELD = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)


def pages() -> dict[Path, str]:
    """The whole text of every page."""
    index = "\n".join([HEAD, *(_overview(family) for family in plugins.FAMILIES)])
    return {INDEX: index, **{PAGES / f"{f}.md": _page(f) for f in plugins.FAMILIES}}


def _overview(family: str) -> str:
    lines = [f"## [{family}](reference/{family}.md)", "", "| name | what it is |", "|---|---|"]
    for name in plugins.names(family):
        first = _text(family, name)[0].splitlines()[0]
        lines.append(f"| [`{name}`](reference/{family}.md#{name}) | {_cell(first)} |")
    return "\n".join([*lines, ""])


def _page(family: str) -> str:
    folder = f"src/{plugins.FAMILIES[family][0].replace('.', '/')}/"
    head = f"# {family[0].upper()}{family[1:]}\n\n{WRITTEN} Folder: `{folder}`."
    if family in MEASURED:
        head += f" Measured: {MEASURED[family]}."
    if family in GUIDES:
        head += f" Guide: [add one](../guides/add-a-{GUIDES[family]}.md)."
    return "\n\n".join([head, *(_member(family, name) for name in plugins.names(family))]) + "\n"


def _member(family: str, name: str) -> str:
    member = plugins.load(family, name)
    text, told = _text(family, name)
    parts = [f"## {name}", text.strip()]
    if isinstance(member, TargetSpec):
        doubt = f"**Unproven:** {member.unproven}." if member.unproven else ""
        parts += [doubt, member.evidence, _facts(member)]
    elif fields := [f for f in dataclasses.fields(member) if f.init]:
        rows = [
            f"| `{_yaml(f.name)}` | {_default(f)} | {_cell(told.get(f.name, ''))} |" for f in fields
        ]
        parts.append("\n".join(["| option | default | |", "|---|---|---|", *rows]))
    return "\n\n".join(part for part in parts if part)


def _text(family: str, name: str) -> tuple[str, dict[str, str]]:
    """The docstring of a member without its fields, and the fields' own words."""
    member = plugins.load(family, name)
    module = importlib.import_module(f"{plugins.FAMILIES[family][0]}.{name.replace('-', '_')}")
    is_class = isinstance(member, type)
    told: dict[str, str] = {}
    for each in reversed(member.__mro__) if is_class else ():  # a base may tell of a field
        if fields := ATTRIBUTES.search(f"{inspect.cleandoc(each.__doc__ or '')}\n"):
            told |= dict(FIELD.findall(fields[1]))
    found = f"{inspect.getdoc(member if is_class else module) or ''}\n"
    return ATTRIBUTES.sub("", found), {k: " ".join(v.split()) for k, v in told.items()}


def _facts(target: TargetSpec) -> str:
    """What runs in int8 there, and why that is known."""
    rows = [(", ".join(rule.ops), _kernel(rule), rule.evidence) for rule in target.rules]
    if target.follows:
        rows.append((", ".join(target.follows), "int8 where their operands are", ""))
    if target.transparent:
        rows.append((", ".join(target.transparent), "move int8 numbers", ""))
    if target.dynamic:
        rows.append((", ".join(target.dynamic), "int8 with ranges found at run time", ""))
    if target.weight_only is not None:
        rule = target.weight_only
        rows.append((", ".join(rule.ops), "weights of 4 or 8 bits in groups", rule.evidence))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    levels = ", ".join(f"`{name}` ({accumulator})" for name, accumulator in target.cpus)
    where = f"CPU levels, with the integers in which products are added: {levels}."
    if target.device == "gpu":
        where = "It runs on a GPU, next to any CPU."
    return "\n".join(
        [
            *("| operators | kernel | evidence |", "|---|---|---|", *lines, ""),
            where,
        ]
    )


def _kernel(rule: OpRule) -> str:
    written = {"required": "int8 to int8", "float": "int8 to float", "either": "int8 to either"}
    limits = [f"{tail} inside" for tail in rule.tails]
    limits += [
        f"{field.name.removeprefix('min_')} from {least:,}"
        for field in dataclasses.fields(rule)
        if field.name.startswith("min_") and (least := getattr(rule, field.name))
    ]
    if rule.depthwise_after is not None:
        limits.append(f"depthwise behind {', '.join(rule.depthwise_after) or 'nothing'}")
    return "; ".join([written[rule.output], *limits])


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{_plain(field.default)}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{_plain(field.default_factory())}`"
    return "needed"


def _plain(value: object) -> object:
    """A default as YAML has it: a plug-in by its name, `[]` for an empty tuple."""
    if plugins.is_member(value):
        ((name, _),) = plugins.dump(value).items()
        return name
    if isinstance(value, tuple) and value:
        return f"[{', '.join(str(_plain(each)) for each in value)}]"
    if isinstance(value, bool):  # 1.0 is equal to True
        return str(value).lower()
    return {(): "[]", None: "null"}.get(value, value)  # type: ignore[call-overload]


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _yaml(field: str) -> str:
    return field.replace("_", "-")


def stale() -> Iterator[Path]:
    """Pages of families that are no more."""
    return (path for path in PAGES.glob("*.md") if path not in pages())


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    for path in stale():
        path.unlink()
