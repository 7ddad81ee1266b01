"""How long a process takes from its start to its first answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gossamer.measure.isolate import Isolated
from gossamer.measure.process import DEFAULT_TIMEOUT
from gossamer.measurement import Latency

if TYPE_CHECKING:
    from gossamer.measure.measure import Contender
    from gossamer.runtime import Feed


def cold_latencies(
    contenders: Sequence[Contender],
    feed: Feed,
    *,
    threads: int,
    starts: int,
    timeout: float = DEFAULT_TIMEOUT,
) -> dict[str, Latency]:
    """Seconds from the start of a process to its first answer, by contender's name; one a block.

    The interpreter, the imports, the load of the file and whatever the runtime does at its first
    call are in it. Files lie in the memory of the system after the first start, which is not
    counted. Contenders take turns. Nothing is started, and nothing comes back, for 0 starts.

    Raises:
        BuildError: A contender cannot be opened.
        MeasureError: A contender refuses the feed or crashes.
    """
    taken: dict[str, list[float]] = {c.name: [] for c in contenders}
    for _ in range(starts + 1 if starts else 0):
        for c in contenders:
            before = time.perf_counter()
            with Isolated(
                c.runtime, c.path, threads=threads, precision=c.precision, timeout=timeout
            ) as session:
                session.run(feed)
                taken[c.name].append(time.perf_counter() - before)
    return {
        name: Latency(blocks=tuple(np.array([x]) for x in found[1:]))
        for name, found in taken.items()
        if found
    }
