"""What weights give up for sums of 16 bits is told at every site."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.graph.narrow import told
from gossamer.graph.place import Wish, place
from zoo.placed import ORT, decision, graph

ONES = np.ones((32, 64, 1, 1), np.float32)
APART = ONES * (np.arange(64).reshape(1, 64, 1, 1) % 2)  # no two neighbours


@pytest.mark.parametrize(
    ("weight", "growth"),
    [(ONES, 2.0), (APART, 1.0), (ONES * (1 - 2 * (np.arange(64).reshape(1, 64, 1, 1) % 2)), 1.0)],
)
def test_sites_tell_how_much_larger_steps_are(weight: np.ndarray, growth: float) -> None:
    model = graph("(float[1, 64, 7, 7] x) => (float[1, 32, 7, 7] y) { y = Conv(x, w) }", w=weight)
    plan = place(model, ORT, Wish(cpu="portable"))
    site = decision(told(model, plan), "conv0")
    assert site.growth == pytest.approx(growth, abs=0.01)
    assert (f"{growth:.2f} times as large" in site.detail) == (growth > 1)


def test_whole_sums_take_nothing() -> None:
    model = graph("(float[1, 64, 7, 7] x) => (float[1, 32, 7, 7] y) { y = Conv(x, w) }", w=ONES)
    plan = place(model, ORT, Wish(cpu="vnni"))
    assert told(model, plan) == plan


def test_factors_of_channels_count() -> None:
    model = graph("(float[1, 64, 7, 7] x) => (float[1, 32, 7, 7] y) { y = Conv(x, w) }", w=ONES)
    plan = place(model, ORT, Wish(cpu="portable"))
    factors = np.where(np.arange(64) % 2, 100, 1).astype(np.float32)
    site = decision(told(model, plan, {"x": factors}), "conv0")
    assert site.growth == pytest.approx(1.01, abs=0.005)
