"""What quantization does to each site of a model, and what was tried against it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.result import Candidate

Outcome = Literal["healthy", "cured", "not cured"]
EXIT_CODES: dict[str, int] = {"healthy": 0, "cured": 0, "not cured": 1}
MOST_DB = 200.0  # of an error of exactly 0: JSON has no infinity


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """How often a tensor takes which values, in float and as it is stored.

    Attributes:
        low: Left edge of the first bin.
        high: Right edge of the last bin.
        real: Share of the float elements in each bin.
        stored: Share of the elements in each bin after they were stored.
    """

    low: float
    high: float
    real: tuple[float, ...]
    stored: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """One operand of a site, in float and as it is stored.

    Attributes:
        name: Of the value.
        kind: What it is.
        low: Smallest float element.
        high: Largest.
        range_low: Smallest number that can be stored; of the widest channel.
        range_high: Largest.
        clipped: Share of the elements outside what can be stored.
        used: Share of the storable range that lies between the smallest and the largest element.
        bulk: Share of the float range that holds all but a thousandth of the elements.
        steps: Integers between the smallest and the largest stored one; of the poorest channel.
        most_steps: Integers that the type has.
        poor: Channels that use less than an eighth of the integers.
        channels: Channels with a scale of their own; 1 where there is one scale.
        outlier: The channel whose extremes are alone far out, if there is one.
        sqnr_db: Power of the elements over that of the error, as far as the histogram tells.
        histogram: Both forms, over the same bins.
    """

    name: str
    kind: Literal["activation", "weight"]
    low: float
    high: float
    range_low: float
    range_high: float
    clipped: float
    used: float
    bulk: float
    steps: int
    most_steps: int
    poor: int = 0
    channels: int = 1
    outlier: int | None = None
    sqnr_db: float
    histogram: Histogram


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteDiagnosis:
    """One quantized site.

    Attributes:
        site: Name of the node.
        op: Its operator type.
        finding: What is wrong with it, in one clause.
        alone_db: SQNR at its output when it alone is quantized; None where no value of the float
            graph has the name of its output.
        output_db: SQNR of the worst model output when it alone is quantized.
        accumulated_db: SQNR at its output in the quantized model.
        without_score: Score of the quantized model with this site in float; None if not tried.
        without_db: SQNR of the worst model output of the same.
        overflow: Output channels whose neighbouring weights can overflow a 16-bit sum; None where
            the CPU level has no such kernels.
        tensors: Its operands.
        unmatched: Why something about it is not known, if anything.
    """

    site: str
    op: str
    finding: str
    alone_db: float | None
    output_db: float | None
    accumulated_db: float | None
    without_score: float | None = None
    without_db: float | None = None
    overflow: int | None = None
    tensors: tuple[Tensor, ...] = ()
    unmatched: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The outcome of diagnose.

    Attributes:
        out: The folder with the files.
        outcome: Whether there was anything to cure, and whether a cure is within the budget.
        model: The float model as the user named it.
        quantized: The quantized file or recipe as the user named it.
        target: Where both run.
        cpu: Weakest CPU level on which the cure is right.
        task: Name, metric, direction, rows.
        max_drop: The budget as the user wrote it.
        float_score: Of the float model, on the rows that the diagnosis read.
        score: Of the quantized model.
        drop: Against float.
        sqnr_db: Of the worst model output of the quantized model.
        sites: The worst first.
        unmatched: Names of values that the float graph does not have.
        cures: In the order in which they were tried.
        cure: The best of them; None where there was nothing to cure, or none could be built.
        report: Scores on the report split, which no choice saw: `rows`, `float`, `given`, `cured`,
            the drop of the cure and its paired 95 % interval. Empty without `--apply`.
        seconds: Wall time.
        command: What was typed.
    """

    out: Path
    outcome: Outcome
    model: str
    quantized: str
    target: str
    cpu: str
    task: dict[str, Any]
    max_drop: str
    float_score: float
    score: float
    drop: float
    sqnr_db: float | None
    sites: tuple[SiteDiagnosis, ...]
    unmatched: tuple[str, ...] = ()
    cures: tuple[Candidate, ...] = ()
    cure: Candidate | None = None
    report: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    command: str = ""

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return EXIT_CODES[self.outcome]


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise) between -MOST_DB and MOST_DB; NaN and infinite noise are the least.

    >>> decibel(100.0, 1.0)
    20.0
    """
    if not math.isfinite(noise) or not math.isfinite(signal):
        return -MOST_DB
    if noise <= 0:
        return MOST_DB
    if signal <= 0:
        return -MOST_DB
    return max(-MOST_DB, min(MOST_DB, 10 * math.log10(signal / noise)))
