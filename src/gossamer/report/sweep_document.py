"""A sweep as a JSON document, and back."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gossamer.errors import OutputError
from gossamer.report import document
from gossamer.result import SCHEMA_VERSION
from gossamer.swept import Swept, SweptSetting, Timing

if TYPE_CHECKING:
    from pathlib import Path


def text(swept: Swept) -> str:
    """The document as JSON: every field but the folder, no NaN."""
    fields = dataclasses.asdict(swept)
    del fields["out"]
    head = {"schema_version": SCHEMA_VERSION, "gossamer": version("gossamer")}
    return document.text({**head, **fields})


def read(path: Path, out: Path) -> Swept:
    """The sweep that a `sweep.json` describes.

    Args:
        path: The file.
        out: The output folder it belongs to.

    Raises:
        OutputError: The file cannot be read, or is not the document of a sweep.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["schema_version"] != SCHEMA_VERSION:
            raise OutputError(
                f"schema_version {SCHEMA_VERSION} in {path}",
                repr(value["schema_version"])[:80],
                "Sweep again with --overwrite.",
            )
        return _parsed(value, out)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(
            f"the document of a sweep at {path}",
            f"{type(error).__name__}: {error}",
            "Sweep again with --overwrite.",
        ) from error


def _parsed(value: dict[str, Any], out: Path) -> Swept:
    fields = {f.name: value[f.name] for f in dataclasses.fields(Swept) if f.name != "out"}
    fields["varied"] = {key: tuple(each) for key, each in value["varied"].items()}
    for key in ("metrics", "remarks"):
        fields[key] = tuple(value[key])
    fields["settings"] = tuple(_setting(each) for each in value["settings"])
    return Swept(out=out, **fields)


def _setting(value: dict[str, Any]) -> SweptSetting:
    fields = {f.name: value[f.name] for f in dataclasses.fields(SweptSetting)}
    fields["remarks"] = tuple(value["remarks"])
    fields["drop_interval"] = _pair(value["drop_interval"])
    fields["timings"] = tuple(
        Timing(**{**each, "speedup_interval": _pair(each["speedup_interval"])})
        for each in value["timings"]
    )
    return SweptSetting(**fields)


def _pair(value: Any) -> tuple[float, float] | None:
    return None if value is None else (float(value[0]), float(value[1]))
