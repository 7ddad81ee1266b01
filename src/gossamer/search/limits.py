"""How long compress may go on: a candidate that would not be ready in time is not begun."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gossamer.task import affordable

if TYPE_CHECKING:
    from gossamer.search.ladder import Rung
    from gossamer.search.prepare import Prepared
    from gossamer.search.trial import Trials
    from gossamer.task import Split

REPORT_ROWS = 5000
REPORT_SHARE = 0.1  # of the time budget, for scoring one model on more rows than that
SESSION_SECONDS = 1.0  # to start a process that opens a model
PASSES = 4.0  # of the float model over the calibration rows, that calibration takes the time of


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """The time and the number of candidates that the user allows.

    Attributes:
        prepared: The request.
        trials: What was tried so far.
        started: `time.monotonic()` at which the time began.
        is_calibrated: Whether statistics are there already.
    """

    prepared: Prepared
    trials: Trials
    started: float
    is_calibrated: Callable[[], bool]

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds until the report split must be scored."""
        return self.prepared.seconds - self.elapsed - self._reporting()

    def reached(self, rung: Rung) -> str | None:
        """Why a candidate is not begun; None if it is."""
        most = self.prepared.request.trials
        tried = [
            c for c in self.trials.candidates.values() if c.status != "skipped" and not c.is_float
        ]
        if most is not None and len(tried) >= most:
            return f"{most} candidates were tried, as asked"
        if self.trials.is_known(rung):
            return None
        expected = self.trials.expected_seconds(rung)
        if rung.is_rounded_by_data or (rung.is_static and not self.is_calibrated()):
            expected += (
                SESSION_SECONDS
                + PASSES * len(self.prepared.data.calibration) * self.seconds_per_row
            )
        if expected > self.left:
            return "too little of the time budget was left"
        return None

    def half(self) -> Callable[[], bool]:
        """Says whether half of the time that is left now has passed."""
        end = time.monotonic() + self.left / 2
        return lambda: time.monotonic() > end

    def report_split(self) -> Split:
        """As many rows of the report split as time allows for."""
        rows = int(REPORT_SHARE * self.prepared.seconds / max(self.seconds_per_row, 1e-6))
        searched = len(self.trials.split)
        return affordable(self.prepared.data.report, max(searched, min(REPORT_ROWS, rows)))

    def _reporting(self) -> float:
        return 2 * (SESSION_SECONDS + len(self.report_split()) * self.seconds_per_row)

    @property
    def seconds_per_row(self) -> float:
        """Seconds of the float model for one row, about."""
        median = (self.trials.baseline.latency_ms or {}).get("median", 1.0)
        return median / 1000 / self.prepared.request.batch
