"""Where the time of a model goes, by its runtime's own clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.measure.environment import usable_cpus
from gossamer.measure.process import DEFAULT_TIMEOUT, Child
from gossamer.runtime import OperatorTime

if TYPE_CHECKING:
    from gossamer.measure.measure import Contender
    from gossamer.runtime import Feed

CALLS = 20


def operator_times(
    contender: Contender, feed: Feed, *, threads: int, timeout: float = DEFAULT_TIMEOUT
) -> tuple[OperatorTime, ...]:
    """What each node takes, median of 20 calls in a process of its own, the slowest first.

    Nothing comes back where the runtime does not tell. Clocks between nodes cost time, so the sum
    is more than the latency.

    Raises:
        BuildError: The model cannot be opened.
        MeasureError: It refuses the feed or crashes.
    """
    with Child(contender.runtime, contender.path, timeout) as child:
        reply, _ = child.ask(
            {
                "op": "operators",
                "runtime": contender.runtime,
                "path": str(contender.path.absolute()),
                "threads": threads,
                "calls": CALLS,
                "cpus": usable_cpus()[:threads],
            },
            feed,
        )
    found = [
        OperatorTime(name=name, operator=operator, seconds=seconds, kernel=kernel)
        for name, operator, seconds, kernel in reply["operators"]
    ]
    return tuple(sorted(found, key=lambda t: -t.seconds))
