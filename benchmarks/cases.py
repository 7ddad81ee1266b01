"""The rows of the table: which model, which data, judged how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import yaml

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row; the fields are explained in cases.yaml."""

    name: str
    model: str
    tolerance: float
    judge: str | None = None
    rows: int = 128
    form: Literal["npz", "folder"] = "npz"
    data: str | None = None
    arguments: tuple[str, ...] = ()
    transformer: bool = False

    def source(self, real: Path) -> str:
        """What gossamer is given."""
        return str(real / self.model) if self.judge else self.model


def load_cases(path: Path = HERE / "cases.yaml") -> tuple[Case, ...]:
    """All cases in the file's order."""
    known = {field.name for field in fields(Case)}
    cases = []
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        if wrong := set(entry) - known:
            raise SystemExit(f"{path.name}: {entry['name']} has {', '.join(sorted(wrong))}")
        entry["arguments"] = tuple(entry.get("arguments", ()))
        cases.append(Case(**entry))
    return tuple(cases)
