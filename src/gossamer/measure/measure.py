"""Latency on a noisy machine: interleaved blocks, ratios with intervals, a noise floor."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import MeasureError
from gossamer.measure.exclusive import exclusive
from gossamer.measure.isolate import Isolated
from gossamer.measure.process import DEFAULT_TIMEOUT
from gossamer.measurement import Latency, Ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed, Precision

MIN_BLOCKS = 12
MIN_CALLS = 3
BLOCK_SECONDS = 0.02
# after each block a session comes to rest, for 50 ms and more where threads spin: long measurements
# have longer blocks, as more rounds than that tell little
MOST_BLOCKS = 100
WARM_UP_SECONDS = 0.1
RESAMPLES = 1000
SMALLEST_FLOOR = 0.01
TWIN = "the first one again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One model file to be timed.

    Attributes:
        name: What it is called in the results.
        runtime: Name of its runtime.
        path: The file to open.
        precision: Lowest float type that the runtime may choose.
    """

    name: str
    runtime: str
    path: Path
    precision: Precision = "default"


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Latencies that were measured together.

    Attributes:
        latencies: By contender's name.
        ratios: How many times faster each is than the first; 1 for the first.
        noise_floor: How far the first strayed from itself.
    """

    latencies: Mapping[str, Latency]
    ratios: Mapping[str, Ratio]
    noise_floor: float


def measure_latency(
    contenders: Sequence[Contender],
    feed: Feed,
    *,
    threads: int,
    seconds: float,
    batch: int = 1,
    timeout: float = DEFAULT_TIMEOUT,
) -> Comparison:
    """Latencies of all contenders, and how each compares with the first.

    All are fed `feed`, of `batch` samples, for at least `seconds` each. The first is opened twice,
    in two processes: their ratio is the noise floor.

    Raises:
        BuildError: A contender cannot be opened.
        MeasureError: A contender refuses the feed or crashes, or there is none.
    """
    named, first = with_twin(contenders), contenders[0]
    with contextlib.ExitStack() as stack:
        sessions = {
            name: stack.enter_context(
                Isolated(c.runtime, c.path, threads=threads, precision=c.precision, timeout=timeout)
            )
            for name, c in named.items()
        }
        latencies = interleave(
            sessions, dict.fromkeys(sessions, feed), seconds=seconds, batch=batch
        )
    twin = latencies.pop(TWIN)
    baseline = latencies[first.name]
    floor = noise_floor(baseline, twin)
    ratios = {name: ratio(baseline, x, noise_floor=floor) for name, x in latencies.items()}
    return Comparison(latencies=latencies, ratios=ratios, noise_floor=floor)


def with_twin(contenders: Sequence[Contender]) -> dict[str, Contender]:
    """The contenders by name; the first comes twice, the second time as `TWIN`.

    Raises:
        MeasureError: There is none, or two have one name.
    """
    if not contenders or len({c.name for c in contenders}) < len(contenders):
        names = ", ".join(c.name for c in contenders)
        raise MeasureError("at least one contender, each with a name of its own", f"{names!r}")
    first, *others = contenders
    return {first.name: first, TWIN: first, **{c.name: c for c in others}}


def interleave(
    sessions: Mapping[str, Isolated],
    feeds: Mapping[str, Feed],
    *,
    seconds: float,
    batch: int = 1,
) -> dict[str, Latency]:
    """Latencies of sessions that take turns, so that what disturbs one disturbs all.

    Each is warmed up first. Then rounds follow, in which every session runs one block of calls
    (3 calls, 20 ms or a 100th of `seconds`, whichever is most) and comes to rest; the order rotates
    from round to round.
    Rounds end when there are 12 and every session was timed for `seconds`. Block i of all sessions
    is of round i. Other processes of this user that time something wait.

    Raises:
        MeasureError: A session refuses its feed, crashes or takes too long.
    """
    block_seconds = max(BLOCK_SECONDS, seconds / MOST_BLOCKS)
    blocks: dict[str, list[NDArray[np.float64]]] = {name: [] for name in sessions}
    order = list(sessions)
    spent = dict.fromkeys(sessions, 0.0)
    with exclusive():
        calls = {n: _calls(session, feeds[n], block_seconds) for n, session in sessions.items()}
        while len(blocks[order[0]]) < MIN_BLOCKS or min(spent.values()) < seconds:
            for name in order:
                block = sessions[name].time(feeds[name], calls=calls[name])
                blocks[name].append(block)
                spent[name] += float(block.sum())
            order = [*order[1:], order[0]]
    return {
        name: Latency(
            blocks=tuple(blocks[name]), batch=batch, peak_rss_bytes=sessions[name].peak_rss()
        )
        for name in sessions
    }


def ratio(
    baseline: Latency, candidate: Latency, *, noise_floor: float = 0.0, seed: int = 0
) -> Ratio:
    """How many times faster `candidate` is: the median over rounds of one median by the other.

    Medians of all calls would mix what the machine did in different rounds: where it runs at two
    speeds by turns, they fall on either side, and the ratio of two of them strays twice as far.

    Raises:
        MeasureError: The two were not measured in the same rounds.
    """
    rounds = len(baseline.blocks)
    if rounds == 0 or rounds != len(candidate.blocks):
        raise MeasureError(
            "two latencies of the same interleaved rounds",
            f"{rounds} and {len(candidate.blocks)} blocks",
            "Measure both in one call of interleave.",
        )
    slow, fast = ([np.median(block) for block in x.blocks] for x in (baseline, candidate))
    return paired(np.array(slow), np.array(fast), noise_floor=noise_floor, seed=seed)


def paired(
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    *,
    noise_floor: float = 0.0,
    seed: int = 0,
) -> Ratio:
    """The median over rounds of `above / below`, with its bootstrap interval over rounds.

    Args:
        above: A number for each round.
        below: The same, of the same rounds.
        noise_floor: How far such a ratio strays where there is no difference.
        seed: Draws the rounds.

    Raises:
        MeasureError: `below` is 0 in every round; one in which it is says nothing.
    """
    ratios = above[below > 0] / below[below > 0]
    if not len(ratios):
        raise MeasureError("a round in which the first one did anything", "none")
    draws = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), (2.5, 97.5))
    return Ratio(
        value=float(np.median(ratios)), low=float(low), high=float(high), noise_floor=noise_floor
    )


def noise_floor(latency: Latency, again: Latency, *, seed: int = 0) -> float:
    """How far the interval of a model against itself strays from 1, at least 0.01.

    Raises:
        MeasureError: The two were not measured in the same rounds.
    """
    itself = ratio(latency, again, seed=seed)
    return max(SMALLEST_FLOOR, 1.0 - itself.low, itself.high - 1.0)


def _calls(session: Isolated, feed: Feed, seconds: float) -> int:
    """Calls that make one block, found while warming up."""
    warm = session.time(feed, calls=MIN_CALLS, seconds=WARM_UP_SECONDS)
    return max(MIN_CALLS, math.ceil(seconds / max(float(np.median(warm)), 1e-9)))
