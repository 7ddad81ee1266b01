"""How long a module takes while it is being made smaller, by the time of another one."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.measure.environment import physical_cores
from gossamer.measure.measure import Contender, measure_latency

if TYPE_CHECKING:
    from torch import nn

    from gossamer.runtime import Feed
    from gossamer.source import TrainableModel

SECONDS = 1.0  # of both, timed in turns


@dataclass(frozen=True, slots=True)
class Timed:
    """How long modules take, by the time of another one: float graphs, timed in turns.

    Attributes:
        before: Graph of the other one.
        model: How modules are exported.
        feed: What both are given.
    """

    before: Path
    model: TrainableModel
    feed: Feed

    def __call__(self, module: nn.Module) -> float:
        """The ratio, below 1 where `module` is faster.

        Raises:
            ExportError: It cannot be exported.
            MeasureError: One cannot be run.
        """
        from gossamer.sources._module import exported

        cores = physical_cores()
        given = dataclasses.replace(self.model, module=module, digest="now", ranges={})
        with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
            now = exported(given, Path(scratch), kind="trained", origin="a tried module")
            paths = {"before": self.before, "now": now.path}
            both = [Contender(name=n, runtime="ort", path=path) for n, path in paths.items()]
            compared = measure_latency(both, self.feed, threads=cores, seconds=SECONDS)
        return 1 / compared.ratios["now"].value
