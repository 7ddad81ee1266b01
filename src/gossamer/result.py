"""What compress gives back: a verdict, the baseline, the winner and every candidate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gossamer.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gossamer.published import Published, Study

SCHEMA_VERSION = 1
Verdict = Literal["met", "best_effort", "failed"]
Status = Literal["ok", "failed", "skipped"]
EXIT_CODES: dict[str, int] = {"met": 0, "best_effort": 1, "failed": 3}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One recipe on one runtime, with all that was measured. Fields follow the JSON contract.

    Attributes:
        id: Digest of the recipe.
        label: Short name for tables ("static percentile", "float32", "bf16").
        recipe: The recipe as plain data.
        drop: How much worse than the float baseline, in score units; positive is worse.
        drop_interval: Its 95 % interval, paired over the samples; None of float baselines.
        changed: Share of the samples of the search split that it answers otherwise than float does;
            1 where answers are numbers.
        plan: Text rows of the plan (site, op, reason, detail), empty for float models.
        storage: How each site of the plan is stored; empty texts where it stays as it was.
        latency_ms: median, p90, p99 and n.
        latency_quantiles: Milliseconds, evenly from the shortest call to the longest.
        path: Folder relative to OUT, None if the files were not kept.
    """

    id: str
    status: Status
    runtime: str
    target: str
    label: str
    recipe: dict[str, Any]
    reason: str = ""
    score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    drop: float | None = None
    drop_interval: tuple[float, float] | None = None
    relative_drop: float | None = None
    changed: float | None = None
    within_budget: bool = False
    report_score: float | None = None
    report_drop: float | None = None
    report_interval: tuple[float, float] | None = None
    latency_ms: dict[str, float] | None = None
    latency_quantiles: tuple[float, ...] = ()
    speedup: float | None = None
    speedup_interval: tuple[float, float] | None = None
    same_runtime_speedup: float | None = None
    noise_floor: float | None = None
    throughput: float | None = None
    size_bytes: int | None = None
    peak_rss_bytes: int | None = None
    path: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    plan: tuple[tuple[str, str, str, str], ...] = ()
    storage: tuple[str, ...] = ()

    @property
    def is_float(self) -> bool:
        """Whether this is a float32 baseline: no steps, full precision."""
        steps = any(self.recipe.get(key) for key in ("module-steps", "graph-steps"))
        return not steps and self.recipe.get("precision") == "f32"


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of compress; never None. `dump()` is the JSON document of the contract.

    Attributes:
        out: The output folder.
        model: What was compressed (kind, origin, digest …).
        task: name, metric, higher_is_better, synthetic, splits (sizes), dataset (name of the data,
            None if nobody knows), remarks (what is to be known before scores are believed).
        max_drop: The budget as the user wrote it.
        environment: cpu, flags, threads, versions.
        calibration: samples, seconds, plain_seconds, peak_rss_bytes, plain_rss_bytes.
        seconds: Wall time of everything.
        placement: How much faster the winner is than int8 at every site that has an int8 kernel, in
            one interleaved run: `uniform` (id of that candidate), `mixed` (id of the winner),
            `speedup`, `speedup_interval` and `noise_floor`; None where there is no such candidate.
        objectives: What a search wanted small or large, as written; empty for compress.
        front: Ids of the candidates within the budget that no other one beats in all of these.
        batch: Samples per timed call; None in documents of earlier versions.
        length: Tokens of each; None for models without a sequence.
        sensitivity: By site, signal over noise in dB of the worst output where that site alone is
            quantized; empty unless the search had to take sites out.
    """

    out: Path
    verdict: Verdict
    reason: str
    model: dict[str, Any]
    task: dict[str, Any]
    max_drop: str
    environment: dict[str, Any]
    calibration: dict[str, Any] | None
    baseline: Candidate | None
    winner: Candidate | None
    candidates: tuple[Candidate, ...]
    seconds: float
    command: str = ""
    placement: dict[str, Any] | None = None
    objectives: tuple[str, ...] = ()
    front: tuple[str, ...] = ()
    batch: int | None = None
    length: int | None = None
    sensitivity: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return EXIT_CODES[self.verdict]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportFormat(ABC):
    """One way to write down what was measured.

    Attributes:
        is_in_folder: Whether compress writes this file into its output folder. If not, the format
            makes tables of several studies, which `gossamer report` writes where it is told to.
    """

    is_in_folder: ClassVar[bool] = True

    @property
    @abstractmethod
    def file_name(self) -> str:
        """Name of the file in the output folder."""

    @abstractmethod
    def render(self, result: Result) -> str:
        """The whole text of the file."""

    def published(self, studies: Sequence[Study]) -> Published:
        """Tables of what was measured in several studies.

        Raises:
            RecipeError: The format is of one study alone.
        """
        raise RecipeError(
            "a format of several studies",
            f"{type(self).__name__} and {len(studies)} studies",
            "Give it one output folder.",
        )
