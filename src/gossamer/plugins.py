"""Plug-ins: a family is a folder, a file in it is a member, the file's stem is its public name.

Members are listed without being imported. A member is the one frozen dataclass in the file that
derives from the family's base class (or, where a family is pure data, the one instance of it).
Third parties add members through the entry-point group `gossamer.<family>`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import importlib.metadata
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Iterable
from typing import Any

from gossamer.errors import MissingDependency, RecipeError

FAMILIES = {
    "sources": ("gossamer.sources", "gossamer.source:Source"),
    "tasks": ("gossamer.tasks", "gossamer.task:Task"),
    "targets": ("gossamer.targets", "gossamer.target:TargetSpec"),
    "runtimes": ("gossamer.runtimes", "gossamer.runtime:Runtime"),
    "module-steps": ("gossamer.train.steps", "gossamer.step:ModuleStep"),
    "techniques": ("gossamer.train.techniques", "gossamer.train.attachment:Technique"),
    "losses": ("gossamer.train.losses", "gossamer.train.loss:Loss"),
    "criteria": ("gossamer.train.prune.criteria", "gossamer.train.prune.criterion:Criterion"),
    "patterns": ("gossamer.train.prune.patterns", "gossamer.train.prune.pattern:Pattern"),
    "schedules": ("gossamer.train.prune.schedules", "gossamer.train.prune.schedule:Schedule"),
    "steps": ("gossamer.graph.steps", "gossamer.step:GraphStep"),
    "roundings": ("gossamer.graph.roundings", "gossamer.step:Rounding"),
    "ranges": ("gossamer.graph.observers", "gossamer.step:RangeRule"),
    "executors": ("gossamer.search.executors", "gossamer.search.executor:Executor"),
    "strategies": ("gossamer.search.strategies", "gossamer.search.strategy:Strategy"),
    "formats": ("gossamer.report.formats", "gossamer.result:ReportFormat"),
}

NUMBER = re.compile(r"[+-]?\d+[eE][+-]?\d+")
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def names(family: str) -> tuple[str, ...]:
    """The public names of a family's members, sorted, with `-` for `_`."""
    package = importlib.import_module(_family(family)[0])
    stems = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}
    stems |= {entry.name for entry in _entries(family, tuple(sys.path))}
    return tuple(sorted(stem.replace("_", "-") for stem in stems))


def load(family: str, name: str) -> Any:
    """The member called `name`: a dataclass, or an instance in families of pure data.

    Raises:
        RecipeError: No member has that name; the message lists the real ones.
        MissingDependency: The member needs a package that is not installed.
    """
    known = names(family)
    public = name.replace("_", "-")
    if public not in known:
        raise unknown(f"a name from the family {family}", name, known)
    stem = public.replace("-", "_")
    for entry in _entries(family, tuple(sys.path)):
        if entry.name.replace("-", "_") == stem:
            return entry.load()
    package, base_path = _family(family)
    base_module, base_name = base_path.split(":")
    base = getattr(importlib.import_module(base_module), base_name)
    module = importlib.import_module(f"{package}.{stem}")
    own = [
        v
        for k, v in vars(module).items()
        if not k.startswith("_")
        and (
            isinstance(v, base)
            or (
                isinstance(v, type)
                and issubclass(v, base)
                and v is not base
                and v.__module__ == module.__name__
            )
        )
    ]
    if len(own) != 1:
        raise RecipeError(
            f"exactly one {base_name} in {module.__name__}",
            f"{len(own)}",
            "A plug-in file defines one member.",
        )
    return own[0]


def parse(family: str, value: object) -> Any:
    """The plug-in that YAML describes: `name` or `{name: {field: value}}`."""
    name, fields = _name_and_fields(family, value)
    member = load(family, name)
    if not isinstance(member, type):
        return member
    return _record(member, fields, name)


def dump(value: object) -> Any:
    """The YAML form of a plug-in value: `{name: {every field, defaults included}}`."""
    stem = type(value).__module__.rsplit(".", 1)[-1].replace("_", "-")
    return {stem: _fields(value)}


def is_member(value: object) -> bool:
    """Whether a value is a plug-in, and no plain record in one of its fields."""
    return any(family_of(base) for base in type(value).__mro__)


def unknown(needed: str, received: str, known: tuple[str, ...]) -> RecipeError:
    """The error for a name that does not exist, with the nearest real ones."""
    guess = near(received.replace("_", "-"), known)
    return RecipeError(needed, repr(received), f"{guess}There are: {', '.join(known)}.")


def near(received: str, known: Iterable[str]) -> str:
    """The question whether one of the nearest names was meant; empty if none is near."""
    found = difflib.get_close_matches(received, list(known), n=2, cutoff=0.5)
    return f"Did you mean {' or '.join(found)}? " if found else ""


def require(package: str, extra: str, purpose: str) -> types.ModuleType:
    """The imported optional package, or MissingDependency naming the extra that brings it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependency(package.split(".", maxsplit=1)[0], extra, purpose) from error


def family_of(base: object) -> str | None:
    """The family whose base class is `base`, if any."""
    if not isinstance(base, type):
        return None
    path = f"{base.__module__}:{base.__name__}"
    return next((name for name, (_, known) in FAMILIES.items() if known == path), None)


@functools.cache
def _entries(family: str, _: tuple[str, ...]) -> tuple[importlib.metadata.EntryPoint, ...]:
    """Members from other packages, which are all asked for them once for each search path."""
    return tuple(importlib.metadata.entry_points(group=f"gossamer.{family}"))


def _family(family: str) -> tuple[str, str]:
    if family not in FAMILIES:
        raise unknown("a plug-in family", family, tuple(FAMILIES))
    return FAMILIES[family]


def _name_and_fields(family: str, value: object) -> tuple[str, dict[object, object]]:
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict) and len(value) == 1:
        ((name, fields),) = value.items()
        if isinstance(name, str) and (fields is None or isinstance(fields, dict)):
            return name, fields or {}
    raise RecipeError(
        f"a name or {{name: {{field: value}}}} in {family}",
        repr(value),
        f"There are: {', '.join(names(family))}.",
    )


def _record(kind: type, fields: dict[object, object], where: str) -> object:
    """The dataclass `kind` with these fields, each of the type that its hint says."""
    hints = typing.get_type_hints(kind)
    known = {f.name.replace("_", "-"): f.name for f in dataclasses.fields(kind) if f.init}
    values = {}
    for key, raw in fields.items():
        field = str(key).replace("_", "-")
        if field not in known:
            raise unknown(f"a field of {where}", str(key), tuple(known))
        values[known[field]] = _convert(hints[known[field]], raw, f"{where}.{field}")
    try:
        return kind(**values)
    except TypeError as error:
        raise RecipeError(f"all fields of {where}", repr(fields), str(error)) from error


def _convert(hint: Any, raw: object, where: str) -> object:
    family = family_of(hint)
    if family is not None:
        return raw if isinstance(raw, hint) else parse(family, raw)
    origin = typing.get_origin(hint)
    if origin in {types.UnionType, typing.Union}:
        kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
        return None if raw is None else _convert(kinds[0], raw, where)
    if origin is typing.Literal:
        return _choice(typing.get_args(hint), raw, where)
    if origin is tuple or dataclasses.is_dataclass(hint):
        return (_items if origin is tuple else _nested)(hint, raw, where)
    # YAML takes 5e-5 for a text: it wants 5.0e-5
    is_text = isinstance(raw, str) and NUMBER.fullmatch(raw)
    if hint is float and (is_text or (isinstance(raw, int) and not isinstance(raw, bool))):
        return float(raw)  # type: ignore[arg-type]
    is_kind = not isinstance(hint, type) or isinstance(raw, hint)
    if not is_kind or (hint is int and isinstance(raw, bool)):
        raise RecipeError(
            f"{KINDS.get(hint, hint.__name__)} for {where}",
            repr(raw),
            "The reference of the plug-ins says what each option takes.",
        )
    return raw


def _items(hint: Any, raw: object, where: str) -> tuple[object, ...]:
    if not isinstance(raw, list | tuple):
        raise RecipeError(
            f"a list for {where}", repr(raw), 'Write [a, b], or one "- " line for each.'
        )
    each = typing.get_args(hint)[0]
    return tuple(_convert(each, item, f"{where}[{i}]") for i, item in enumerate(raw))


def _nested(hint: Any, raw: object, where: str) -> object:
    if isinstance(raw, hint):
        return raw
    if not isinstance(raw, dict):
        names = ", ".join(f.name.replace("_", "-") for f in dataclasses.fields(hint))
        raise RecipeError(f"a mapping for {where}", repr(raw), f"Its keys are among {names}.")
    return _record(hint, raw, where)


def _choice(choices: tuple[object, ...], raw: object, where: str) -> object:
    if raw in choices:
        return raw
    same = {str(choice).replace("_", "-"): choice for choice in choices}
    public = str(raw).replace("_", "-")
    if public not in same:
        raise unknown(f"a value of {where}", str(raw), tuple(same))
    return same[public]


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if dataclasses.is_dataclass(value):
        return dump(value) if is_member(value) else _fields(value)
    return value


def _fields(value: object) -> dict[str, object]:
    return {
        f.name.replace("_", "-"): _plain(getattr(value, f.name))
        for f in dataclasses.fields(value)  # type: ignore[arg-type]
    }
