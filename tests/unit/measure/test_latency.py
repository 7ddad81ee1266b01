"""Interleaved blocks and what is made of them: ratios, intervals, the noise floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.errors import BuildError, MeasureError
from gossamer.measure.isolate import Isolated
from gossamer.measure.measure import (
    MIN_BLOCKS,
    Contender,
    interleave,
    measure_latency,
    noise_floor,
    ratio,
)
from gossamer.measurement import Latency
from zoo import runnable


def latency(*medians: float, calls: int = 5, seed: int = 0) -> Latency:
    """Blocks around the given medians, one percent wide."""
    random = np.random.default_rng(seed)
    return Latency(blocks=tuple(m * random.normal(1, 0.01, calls) for m in medians))


class Noted(Isolated):
    """A session that notes when it had its turns."""

    turns: list[Isolated]

    def time(self, *args: Any, **options: Any) -> Any:
        self.turns.append(self)
        return super().time(*args, **options)


def test_the_ratio_is_the_median_of_those_of_the_rounds() -> None:
    slow, fast = latency(*[0.004] * 20), latency(*[0.002] * 20, seed=1)

    measured = ratio(slow, fast)

    rounds = [np.median(a) / np.median(b) for a, b in zip(slow.blocks, fast.blocks, strict=True)]
    assert measured.value == np.median(rounds)
    assert measured.low <= measured.value <= measured.high
    assert (measured.low, measured.high) == pytest.approx((2, 2), rel=0.02)
    assert measured.is_faster


def test_a_latency_against_itself_is_exactly_one() -> None:
    itself = ratio(latency(*[0.001] * 12), latency(*[0.001] * 12))

    assert (itself.value, itself.low, itself.high) == (1, 1, 1)


def test_a_drift_that_both_share_does_not_widen_the_interval() -> None:
    drift = np.linspace(1, 3, 40)
    slow, fast = latency(*(0.002 * drift)), latency(*(0.001 * drift), seed=1)

    measured = ratio(slow, fast)

    # the medians of resamples vary by a tenth and more, together
    assert measured.high - measured.low < 0.1


def test_a_machine_at_two_speeds_by_turns_does_not_move_the_ratio() -> None:
    speeds = np.array([1.0, 1.5] * 20)  # half of all calls at each: medians of all lie in between
    slow, fast = latency(*(0.002 * speeds)), latency(*(0.001 * speeds), seed=1)

    measured = ratio(slow, fast)

    assert measured.value == pytest.approx(2, rel=0.02)
    assert measured.high - measured.low < 0.05


def test_bursts_in_a_few_blocks_do_not_move_the_ratio() -> None:
    disturbed = [0.001] * 20
    disturbed[3] = disturbed[11] = disturbed[12] = 0.1

    assert ratio(latency(*[0.002] * 20), latency(*disturbed)).value == pytest.approx(2, rel=0.02)


@settings(max_examples=20)
@given(st.floats(0.2, 5), st.integers(0, 100))
def test_the_same_measurement_gives_the_same_interval(factor: float, seed: int) -> None:
    a, b = latency(*[0.001] * 12), latency(*[0.001 * factor] * 12, seed=1)

    assert ratio(a, b, seed=seed) == ratio(a, b, seed=seed)


@pytest.mark.parametrize(("first", "second"), [(3, 2), (0, 0)])
def test_latencies_of_different_rounds_have_no_ratio(first: int, second: int) -> None:
    with pytest.raises(MeasureError, match=f"same interleaved rounds; received {first} and"):
        ratio(latency(*[1.0] * first), latency(*[1.0] * second))


def test_the_noise_floor_is_how_far_a_model_strays_from_itself() -> None:
    calm = latency(*[0.001] * 50)
    quiet = noise_floor(calm, latency(*[0.001] * 50, seed=1))
    loud = noise_floor(calm, latency(*[0.0011] * 50, seed=1))

    assert quiet == 0.01  # never less
    assert loud == pytest.approx(0.1, abs=0.02)


def test_sessions_take_turns_in_a_rotating_order(tmp_path: Path) -> None:
    turns: list[Isolated] = []
    path = runnable.affine(tmp_path)
    with (
        Noted("ort", path, threads=1) as a,
        Noted("ort", path, threads=1) as b,
        Noted("ort", path, threads=1) as c,
    ):
        a.turns = b.turns = c.turns = turns
        feeds = dict.fromkeys("abc", runnable.affine_feed(4))
        latencies = interleave({"a": a, "b": b, "c": c}, feeds, seconds=0.05, batch=4)

    assert turns[:3] == [a, b, c]  # the warm-up
    assert turns[3:12] == [a, b, c, b, c, a, c, a, b]
    for measured in latencies.values():
        assert len(measured.blocks) * 3 == len(turns) - 3 >= 3 * MIN_BLOCKS
        assert all(len(block) >= 3 for block in measured.blocks)
        assert measured.seconds.sum() >= 0.05
        assert measured.batch == 4
        assert measured.peak_rss_bytes > 10e6


def test_a_model_that_does_less_is_faster_beyond_the_noise(tmp_path: Path) -> None:
    path = runnable.counting(tmp_path)
    with Isolated("ort", path, threads=1) as slow, Isolated("ort", path, threads=1) as fast:
        latencies = interleave(
            {"slow": slow, "fast": fast},
            {"slow": runnable.counting_feed(4000), "fast": runnable.counting_feed(400)},
            seconds=0.2,
        )

    measured = ratio(latencies["slow"], latencies["fast"], noise_floor=0.1)
    assert measured.is_faster


def test_contenders_are_compared_with_the_first_and_its_twin(tmp_path: Path) -> None:
    path = runnable.counting(tmp_path)

    compared = measure_latency(
        [
            Contender(name="float", runtime="ort", path=path, precision="f32"),
            Contender(name="copy", runtime="ort", path=path),
        ],
        runnable.counting_feed(500),
        threads=1,
        seconds=0.2,
    )

    assert list(compared.latencies) == list(compared.ratios) == ["float", "copy"]
    assert compared.ratios["float"].value == 1
    assert compared.ratios["copy"].noise_floor == compared.noise_floor >= 0.01
    assert 0.3 < compared.ratios["copy"].value < 3  # the same file, on a machine with others


def test_a_contender_that_cannot_be_opened_is_a_build_error(tmp_path: Path) -> None:
    good = Contender(name="good", runtime="ort", path=runnable.affine(tmp_path))
    bad = Contender(name="bad", runtime="ort", path=runnable.garbage(tmp_path))

    with pytest.raises(BuildError, match=r"model\.onnx"):
        measure_latency([good, bad], runnable.affine_feed(), threads=1, seconds=0.1)


def test_contenders_need_names_of_their_own(tmp_path: Path) -> None:
    one = Contender(name="same", runtime="ort", path=tmp_path)

    for contenders in ([], [one, one]):
        with pytest.raises(MeasureError, match="at least one contender, each with a name"):
            measure_latency(contenders, {}, threads=1, seconds=0.1)
