"""What was measured: raw latency samples, ratios with intervals, scores, memory, environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


QUANTILES = 41  # of a distribution; fewer blur its modes, more only tell of the noise


@dataclass(frozen=True, kw_only=True, eq=False)
class Latency:
    """Raw samples of one model's latency.

    Attributes:
        blocks: Seconds per call; one array per interleaved block, in time order.
        batch: Samples per call.
        peak_rss_bytes: Peak resident memory of the child process that ran the model.
    """

    blocks: tuple[NDArray[np.float64], ...]
    batch: int = 1
    peak_rss_bytes: int = 0

    @property
    def seconds(self) -> NDArray[np.float64]:
        """All samples, `[n]`."""
        return np.concatenate(self.blocks)

    @property
    def median(self) -> float:
        """Median seconds per call."""
        return float(np.median(self.seconds))

    @property
    def throughput(self) -> float:
        """Samples per second: batch * calls / time."""
        return float(self.batch * len(self.seconds) / self.seconds.sum())

    def milliseconds(self) -> dict[str, float | int]:
        """Median, p90 and p99 in milliseconds and the number of samples, as JSON shows them."""
        ms = self.seconds * 1000
        return {
            "median": float(np.median(ms)),
            "p90": float(np.percentile(ms, 90)),
            "p99": float(np.percentile(ms, 99)),
            "n": len(ms),
        }

    def quantiles(self) -> tuple[float, ...]:
        """Milliseconds below which 0, 1/40, 2/40 … 1 of the samples lie: their distribution."""
        found = np.quantile(self.seconds * 1000, np.linspace(0.0, 1.0, QUANTILES))
        return tuple(float(ms) for ms in np.round(found, 6))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """How many times faster one model is than another, measured in interleaved blocks.

    Attributes:
        value: Median over blocks of the ratio of their medians; above 1 is faster.
        low: Lower end of the 95 % bootstrap interval over blocks.
        high: Upper end.
        noise_floor: How far the ratio of a model to itself strayed from 1 (A/A), as a fraction.
    """

    value: float
    low: float
    high: float
    noise_floor: float = 0.0

    @property
    def is_faster(self) -> bool:
        """Whether the whole interval lies above what noise alone can do."""
        return self.low > 1.0 + self.noise_floor

    @property
    def is_slower(self) -> bool:
        """Whether the whole interval lies below what noise alone can do."""
        return self.high < 1.0 - self.noise_floor


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreRows:
    """A score with what it takes to resample it.

    Attributes:
        value: The score.
        rows: Per-sample sufficient statistics `[n, k]`, in the split's order.
        metrics: What is reported beside it.
    """

    value: float
    rows: NDArray[np.float64]
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Where a measurement was taken.

    Attributes:
        cpu: Model name of the processor.
        flags: Instruction sets that matter to inference, as the kernel names them.
        cores: Physical cores available to this process.
        threads: Threads used.
        versions: Package versions by name.
    """

    cpu: str
    flags: tuple[str, ...]
    cores: int
    threads: int
    versions: tuple[tuple[str, str], ...]

    def dump(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "cpu": self.cpu,
            "flags": list(self.flags),
            "cores": self.cores,
            "threads": self.threads,
            "versions": dict(self.versions),
        }
