"""Models under load: what counts as latency, who gets which request, what a window adds up to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import BuildError, MeasureError
from gossamer.measure import load as loading
from gossamer.measure.cold import cold_latencies
from gossamer.measure.load import Arrivals, Load, arrival_times, measure_load, share
from gossamer.measure.measure import Contender
from gossamer.measure.serving import Served, serve
from gossamer.runtime import Feed
from zoo import runnable

ONE = Load(places=((0,),))


class Napping:
    """A session that sleeps for a while, or refuses."""

    inputs = ()
    outputs = ()

    def __init__(self, seconds: float, *, refuses: bool = False) -> None:
        self.seconds = seconds
        self.refuses = refuses

    def run(self, feed: Mapping[str, np.ndarray[Any, Any]]) -> Feed:
        if self.refuses:
            raise MeasureError("another feed", "this one")
        time.sleep(self.seconds)
        return {}


def served(*sessions: Napping, seconds: float, arrivals: list[float] | None = None) -> Served:
    return serve(sessions, {}, start=time.monotonic(), seconds=seconds, arrivals=arrivals)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "WINDOWS", 3)
    monkeypatch.setattr(loading, "CLOSED_WINDOW", 0.02)
    monkeypatch.setattr(loading, "OPEN_WINDOW", 0.02)


def test_latency_counts_from_the_time_at_which_a_request_was_due() -> None:
    found = served(Napping(0.01), seconds=1, arrivals=[0.0] * 5)

    # the k-th has waited for k others; a sleep is never shorter than asked for
    assert all(x >= 0.01 * (k + 1) for k, x in enumerate(found.latencies))
    assert found.unanswered == 0
    assert found.services.sum() < found.latencies.sum()


def test_no_request_is_begun_before_its_time() -> None:
    start = time.monotonic()
    found = serve([Napping(0)], {}, start=start, seconds=0.1, arrivals=[0.0, 0.02, 0.04])

    assert time.monotonic() - start >= 0.04
    assert (found.latencies >= found.services).all()


def test_what_is_given_up_counts_with_what_it_has_waited() -> None:
    found = served(Napping(0.03), seconds=0.03, arrivals=[0.0] * 50)

    assert found.unanswered >= 45
    assert len(found.latencies) == 50
    assert len(found.services) == 50 - found.unanswered
    assert found.latencies[-1] >= 0.06  # two windows


def test_sessions_side_by_side_take_from_one_queue() -> None:
    found = served(Napping(0.01), Napping(0.01), seconds=1, arrivals=[0.0] * 6)

    assert len(found.services) == 6
    assert found.unanswered == 0


def test_in_a_closed_loop_nothing_waits() -> None:
    found = served(Napping(0.001), Napping(0.001), seconds=0.05)

    assert (found.latencies == found.services).all()
    assert len(found.services) >= 2
    assert found.elapsed > 0


def test_an_instance_without_a_request_has_no_rate() -> None:
    found = served(Napping(0), seconds=0.01, arrivals=[])

    assert (found.elapsed, found.unanswered, len(found.latencies)) == (0, 0, 0)


@pytest.mark.parametrize("count", [1, 2])
def test_a_session_that_refuses_is_told_of(count: int) -> None:
    with pytest.raises(MeasureError, match="another feed"):
        served(*[Napping(0, refuses=True)] * count, seconds=0.1)


@given(st.floats(1, 500), st.floats(0.01, 2), st.sampled_from(["poisson", "fixed"]), st.integers())
def test_requests_arrive_in_order_within_the_window(
    rate: float, seconds: float, kind: Arrivals, seed: int
) -> None:
    load = Load(places=((0,),), rate=rate, arrivals=kind)

    times = arrival_times(load, seconds, abs(seed))

    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < max(seconds, 1e-9)
    assert times == arrival_times(load, seconds, abs(seed))
    if kind == "fixed":
        assert np.allclose(np.diff(times), 1 / rate)


def test_random_arrivals_keep_the_rate() -> None:
    load = Load(places=((0,),), rate=100.0)

    # 100 000 arrivals: 5 standard deviations are 1.6 %
    assert len(arrival_times(load, 1000.0, 0)) == pytest.approx(100_000, rel=0.016)


@given(st.lists(st.floats(0, 1)), st.integers(1, 5))
def test_every_request_goes_to_one_instance_in_turn(times: list[float], instances: int) -> None:
    shares = share(times, instances)

    assert sorted(x for own in shares for x in own) == sorted(times)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("rate", [None, 500.0])
@pytest.mark.parametrize("is_parallel", [False, True])
def test_models_bear_the_same_load_in_turns(
    tmp_path: Path, rate: float | None, *, is_parallel: bool
) -> None:
    path = runnable.affine(tmp_path)
    contenders = [Contender(name=name, runtime="ort", path=path) for name in ("a", "b")]
    load = Load(places=((0,),), rate=rate, is_parallel=is_parallel)

    found = measure_load(contenders, runnable.affine_feed(4), load, seconds=0.01, batch=4)

    assert found.ratios["a"].value == 1
    assert found.noise_floor >= 0.01
    for bearing in found.bearings.values():
        assert len(bearing.latency.blocks) == len(bearing.throughputs) == 3
        assert bearing.latency.batch == 4
        assert bearing.latency.peak_rss_bytes > 10e6
        assert bearing.throughput > 0


@pytest.mark.usefixtures("quick")
def test_a_model_that_cannot_be_opened_is_told_of(tmp_path: Path) -> None:
    broken = Contender(name="a", runtime="ort", path=runnable.garbage(tmp_path))

    with pytest.raises(BuildError):
        measure_load([broken], {}, ONE, seconds=0.01)


@pytest.mark.parametrize("names", [(), ("a", "a")])
def test_contenders_need_names_of_their_own(names: tuple[str, ...], tmp_path: Path) -> None:
    path = runnable.affine(tmp_path)

    with pytest.raises(MeasureError, match="a name of its own"):
        measure_load(
            [Contender(name=n, runtime="ort", path=path) for n in names], {}, ONE, seconds=0.01
        )


def test_a_cold_start_is_taken_once_for_each_start(tmp_path: Path) -> None:
    contender = Contender(name="a", runtime="ort", path=runnable.affine(tmp_path))

    found = cold_latencies([contender], runnable.affine_feed(), threads=1, starts=1)

    assert [len(block) for block in found["a"].blocks] == [1]
    assert cold_latencies([contender], {}, threads=1, starts=0) == {}
