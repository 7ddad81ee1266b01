"""The rows of the table: which model, which data, judged how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import yaml

import train_hard

HERE = Path(__file__).resolve().parent
HARD = "hard:"


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

    @property
    def hard(self) -> str | None:
        """The name of a model that train_hard.py makes, None of others."""
        return self.model.removeprefix(HARD) if self.model.startswith(HARD) else None

    def source(self, real: Path) -> str:
        """What gossamer is given."""
        if self.hard is not None:
            return str(train_hard.place(self.hard))
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
