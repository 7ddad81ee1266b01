"""What a sweep gives back: every setting with its score and its times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """The latency of one setting at one batch size and length, in turns with the float baseline.

    Attributes:
        batch: Samples per call.
        length: Tokens of each; None for models without a sequence.
        reason: Why there are no numbers; empty if there are.
        latency_ms: mean, median, p90, p99 and n.
        throughput: Samples per second.
        speedup: How many times as fast as the float baseline with as many threads.
        speedup_interval: 95 %.
        noise_floor: How far the baseline strayed from itself.
    """

    batch: int
    length: int | None
    reason: str = ""
    latency_ms: dict[str, float] = field(default_factory=dict)
    throughput: float | None = None
    speedup: float | None = None
    speedup_interval: tuple[float, float] | None = None
    noise_floor: float | None = None
    peak_rss_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class SweptSetting:
    """One setting with all that was measured.

    Attributes:
        id: Digest of the setting.
        values: What the file of the sweep says of it, by dotted keys; None where it does not count.
        reason: Why it was not measured; empty if it was.
        remarks: What was measured otherwise than asked for.
        is_baseline: Whether the others with as many threads are compared with it.
        file: Digest of the model file; settings with the same one were measured once.
        recipe: The recipe as plain data.
        drop: How much worse than the float baseline, in score units; positive is worse.
        drop_interval: Paired, 95 %.
    """

    id: str
    values: dict[str, Any]
    threads: int
    status: Literal["ok", "failed"]
    reason: str = ""
    remarks: tuple[str, ...] = ()
    is_baseline: bool = False
    file: str | None = None
    runtime: str = ""
    target: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    drop: float | None = None
    drop_interval: tuple[float, float] | None = None
    size_bytes: int | None = None
    timings: tuple[Timing, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Swept:
    """The outcome of a sweep.

    Attributes:
        out: The output folder.
        model: What was quantized (kind, origin, digest …).
        task: name, metric, higher_is_better, synthetic, rows.
        environment: cpu, flags, cores, versions.
        fixed: Parameters that every setting shares, as the file of the sweep has them.
        varied: The values of those that differ, by dotted keys, in the order of the file.
        metrics: Names of what the card shows.
        point_seconds: How long each setting was timed at each batch size and length.
        files: How many different model files the settings made.
        seconds: Wall time of everything, over all runs that were needed.
    """

    out: Path
    model: dict[str, Any]
    task: dict[str, Any]
    environment: dict[str, Any]
    fixed: dict[str, Any]
    varied: dict[str, tuple[Any, ...]]
    metrics: tuple[str, ...]
    settings: tuple[SweptSetting, ...]
    point_seconds: float
    files: int
    seconds: float
    remarks: tuple[str, ...] = ()
    command: str = ""

    @property
    def baseline(self) -> SweptSetting:
        """The float model that the scores are compared with."""
        return next(s for s in self.settings if s.is_baseline)
