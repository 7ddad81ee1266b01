"""Tables that people publish, before anybody wrote them down, and what they are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gossamer.result import Result
    from gossamer.swept import Swept

Kind = Literal["text", "score", "share", "points", "number", "milliseconds", "factor"]
Precision = Literal["float32", "half", "int8"]
Cell = str | float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its heading.
        kind: What its cells are: text; a score; a share or points (hundredths) of a score;
            a number; milliseconds; how many times as fast.
    """

    name: str
    kind: Kind = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTable:
    """A table; a cell that is None was not measured."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Tables under one title."""

    title: str
    notes: tuple[str, ...]
    tables: tuple[PublishedTable, ...]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One file of a study.

    Attributes:
        label: Short name.
        precision: Of most of its products.
        score: On the rows that nothing was chosen by, where there are such.
        drop: How much worse than float on the same rows; positive is worse.
        drop_interval: Paired, 95 %.
        speedup: How many times as fast as float, in turns.
        identity: What it is called in the study.
    """

    label: str
    runtime: str
    precision: Precision
    score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    drop: float | None = None
    drop_interval: tuple[float, float] | None = None
    latency_ms: float | None = None
    throughput: float | None = None
    speedup: float | None = None
    speedup_interval: tuple[float, float] | None = None
    identity: str = ""


@dataclass(frozen=True, kw_only=True)
class Study:
    """An output folder of compress or sweep, in words that both share.

    Attributes:
        model: Its name.
        kind: What it came as.
        dataset: Name of the data; empty if nobody knows.
        metric: Name of the score.
        is_fraction: Whether a hundredth of the score is a point.
        machine: Processor and the strongest of its instruction sets that int8 knows.
        threads: Of the runtime.
        point: At which batch size and length it was timed.
        versions: Of runtimes, by name of the package.
        baseline: The float32 model; None if it does not run.
        chosen: What the study recommends; None if nothing runs.
        uniform: int8 at every operator that has an int8 kernel, if it was measured.
        source: Everything.
    """

    model: str
    kind: str
    task: str
    dataset: str
    metric: str
    is_fraction: bool
    synthetic: bool
    machine: str
    threads: int | None
    point: str
    versions: dict[str, str]
    baseline: Variant | None
    chosen: Variant | None
    uniform: Variant | None
    variants: tuple[Variant, ...]
    source: Result | Swept
