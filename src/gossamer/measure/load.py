"""Models under load: several instances at once, in a closed loop or at a rate."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from gossamer.measure.exclusive import exclusive
from gossamer.measure.isolate import Instance
from gossamer.measure.measure import SMALLEST_FLOOR, TWIN, paired, ratio, with_twin
from gossamer.measure.process import DEFAULT_TIMEOUT
from gossamer.measurement import Latency, Ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.measure.measure import Contender
    from gossamer.runtime import Feed

Arrivals = Literal["poisson", "fixed"]
ARRIVALS: tuple[Arrivals, ...] = get_args(Arrivals)
WINDOWS = 10
CLOSED_WINDOW, OPEN_WINDOW = 0.1, 0.25  # seconds at least
CALLS, REQUESTS = 5, 20  # at least so many in a window, of one instance and of all
WARM_UP, AGAIN = 4, {"op": "warm", "calls": 1}
LEAD = 0.005  # seconds in which the start of a window reaches one more instance


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a model has to do.

    Attributes:
        places: CPUs of each instance.
        rate: Requests per second to all instances together; None is a closed loop, in which every
            session gets its next request as soon as it has answered.
        arrivals: Requests come at random times (a Poisson process), or at even distances.
        is_parallel: Whether each instance runs sessions side by side in one process, as the runtime
            answers most requests per second.
    """

    places: tuple[tuple[int, ...], ...]
    rate: float | None = None
    arrivals: Arrivals = "poisson"
    is_parallel: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Bearing:
    """How one model bore the load.

    Attributes:
        latency: Seconds from arrival to answer, one block for each window; peak memory is that of
            all instances together.
        throughputs: Samples per second of all instances, of each window.
        service: Median seconds of a call alone, without waiting for a free session.
        unanswered: Requests that were given up; they count in the latency with what they waited.
    """

    latency: Latency
    throughputs: NDArray[np.float64]
    service: float
    unanswered: int = 0

    @property
    def throughput(self) -> float:
        """Samples per second, the median window's."""
        return float(np.median(self.throughputs))


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadComparison:
    """Models that bore the same load in turns.

    Attributes:
        bearings: By contender's name.
        ratios: Against the first, above 1 is better: of throughputs in a closed loop, of latencies
            at a rate.
        noise_floor: How far the first strayed from itself.
    """

    bearings: Mapping[str, Bearing]
    ratios: Mapping[str, Ratio]
    noise_floor: float


def measure_load(
    contenders: Sequence[Contender],
    feed: Feed,
    load: Load,
    *,
    seconds: float,
    batch: int = 1,
    timeout: float = DEFAULT_TIMEOUT,
) -> LoadComparison:
    """How all contenders bear a load, and how each compares with the first.

    All are open at once; in each of 10 windows they take turns with the same arrivals, in an order
    that rotates. The first is opened twice: its ratio to itself is the noise floor.

    Raises:
        BuildError: A contender cannot be opened.
        MeasureError: A contender refuses the feed or crashes, or there is none.
    """
    named, first = with_twin(contenders), contenders[0]
    with contextlib.ExitStack() as stack:
        crowds = {
            name: stack.enter_context(_crowd(contender, load, timeout))
            for name, contender in named.items()
        }
        with exclusive():
            bearings = _in_turns(crowds, feed, load, seconds, batch)
    compare = _throughput_ratio if load.rate is None else _latency_ratio
    itself = compare(bearings[first.name], bearings.pop(TWIN), 0.0)
    floor = max(SMALLEST_FLOOR, 1.0 - itself.low, itself.high - 1.0)
    ratios = {name: compare(bearings[first.name], b, floor) for name, b in bearings.items()}
    return LoadComparison(bearings=bearings, ratios=ratios, noise_floor=floor)


def arrival_times(load: Load, seconds: float, seed: int) -> list[float]:
    """When requests arrive in a window of `seconds`, ascending from 0; at least one does."""
    rate = load.rate or 0.0
    if load.arrivals == "fixed":
        return [float(t) for t in np.arange(max(1, int(seconds * rate))) / rate]
    random = np.random.default_rng(seed)
    times: list[float] = []
    now = float(random.exponential(1 / rate))
    while now < seconds:
        times.append(now)
        now += float(random.exponential(1 / rate))
    return times or [0.0]


def share(arrivals: Sequence[float], instances: int) -> list[list[float]]:
    """Arrivals of each instance: the next request goes to the next instance."""
    return [list(arrivals[i::instances]) for i in range(instances)]


@contextlib.contextmanager
def _crowd(contender: Contender, load: Load, timeout: float) -> Iterator[list[Instance]]:
    """All instances of one contender, opened."""
    with contextlib.ExitStack() as stack:
        instances = []
        for cpus in load.places:
            instance = Instance(
                contender.runtime,
                contender.path,
                cpus=cpus,
                is_parallel=load.is_parallel,
                timeout=timeout,
            )
            instances.append(stack.enter_context(instance))
            instance.open(contender.precision)
        yield instances


def _in_turns(
    crowds: Mapping[str, list[Instance]], feed: Feed, load: Load, seconds: float, batch: int
) -> dict[str, Bearing]:
    """How each crowd bore the same windows."""
    slowest = 0.0
    for crowd in crowds.values():
        for instance in crowd:
            reply, _ = instance.ask({"op": "warm", "calls": WARM_UP}, feed)
            slowest = max(slowest, float(reply["seconds"]))
    if load.rate is None:
        window = max(seconds / WINDOWS, CLOSED_WINDOW, CALLS * slowest)
    else:
        window = max(seconds / WINDOWS, OPEN_WINDOW, REQUESTS / load.rate)
    found: dict[str, list[_Window]] = {name: [] for name in crowds}
    order = list(crowds)
    for i in range(WINDOWS):
        for name in order:
            found[name].append(_window(crowds[name], feed, load, window, i))
        order = [*order[1:], order[0]]
    return {
        name: _summed(windows, batch, sum(x.peak_rss() for x in crowds[name]))
        for name, windows in found.items()
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Window:
    latencies: NDArray[np.float64]
    services: NDArray[np.float64]
    calls_per_second: float
    unanswered: int


def _window(crowd: list[Instance], feed: Feed, load: Load, seconds: float, seed: int) -> _Window:
    """One window of all instances of one contender, which start at one moment."""
    for instance in crowd:  # others had the caches since the last window
        instance.send(AGAIN, feed)
    for instance in crowd:
        instance.receive(AGAIN)
    arrivals: Sequence[Sequence[float] | None] = [None] * len(crowd)
    if load.rate is not None:
        arrivals = share(arrival_times(load, seconds, seed), len(crowd))
    request = {
        "op": "load",
        "start": time.monotonic() + LEAD * (1 + len(crowd)),
        "window": seconds,
        "seconds": 2 * seconds,
    }
    for instance, own in zip(crowd, arrivals, strict=True):
        instance.send({**request, "arrivals": own})
    replies = [instance.receive(request) for instance in crowd]
    return _Window(
        latencies=np.concatenate([samples["latencies"] for _, samples in replies]),
        services=np.concatenate([samples["services"] for _, samples in replies]),
        calls_per_second=sum(
            len(samples["services"]) / told["elapsed"]
            for told, samples in replies
            if told["elapsed"]
        ),
        unanswered=sum(told["unanswered"] for told, _ in replies),
    )


def _summed(windows: Sequence[_Window], batch: int, peak_rss_bytes: int) -> Bearing:
    return Bearing(
        latency=Latency(
            blocks=tuple(w.latencies for w in windows), batch=batch, peak_rss_bytes=peak_rss_bytes
        ),
        throughputs=np.array([batch * w.calls_per_second for w in windows]),
        service=float(np.median(np.concatenate([w.services for w in windows]))),
        unanswered=sum(w.unanswered for w in windows),
    )


def _latency_ratio(baseline: Bearing, candidate: Bearing, noise_floor: float) -> Ratio:
    return ratio(baseline.latency, candidate.latency, noise_floor=noise_floor)


def _throughput_ratio(baseline: Bearing, candidate: Bearing, noise_floor: float) -> Ratio:
    return paired(candidate.throughputs, baseline.throughputs, noise_floor=noise_floor)
