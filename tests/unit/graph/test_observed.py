"""What is read off samples instead of whole values: means of channels, and curves."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.graph import taps
from gossamer.graph.calibrate import collect
from gossamer.graph.curves import CURVES
from gossamer.graph.observed import SampledChannels
from gossamer.graph.observers.percentile import Percentile

SWISH = """<ir_version: 8, opset_import: ["": 18]>
g (float[1, 8, 48, 48] x, float[8, 8, 3, 3] w)
  => (float[1, 8, 48, 48] gate, float[1, 8, 48, 48] swish)
{ first = Conv <pads = [1, 1, 1, 1]> (x, w)
  gate = Sigmoid(first)
  swish = Mul(first, gate) }"""

small = st.integers(1, 40)


@given(
    channels=small,
    inner=small,
    step=small,
    runs=st.lists(st.lists(st.tuples(st.integers(0, 3), small), min_size=1, max_size=4)),
)
def test_means_and_extremes_are_those_of_the_sampled_elements_of_each_channel(
    channels: int, inner: int, step: int, runs: list[list[tuple[int, int]]]
) -> None:
    random = np.random.default_rng(0)
    means = SampledChannels(value="x", channels=channels, inner=inner, extremes=True, step=step)
    sums, elements = np.zeros(channels), np.zeros(channels)
    lows, highs = np.full(channels, np.inf, np.float32), np.full(channels, -np.inf, np.float32)

    for some in runs:
        values = [random.normal(size=channels * inner * outer) for outer, _ in some]
        samples = [x[i::step].astype(np.float32) for x, (_, i) in zip(values, some, strict=True)]
        means.take(np.concatenate(samples), [x.size for x in samples], [i for _, i in some])
        for x, (_, start) in zip(values, some, strict=True):
            for k in range(start, len(x), step):
                sums[k // inner % channels] += x[k]
                elements[k // inner % channels] += 1
                lows[k // inner % channels] = min(lows[k // inner % channels], x[k])
                highs[k // inner % channels] = max(highs[k // inner % channels], x[k])

    found = means.arrays()
    assert bool(found) == bool(elements.any())
    if found:
        wanted = np.divide(sums, elements, out=np.zeros(channels), where=elements > 0)
        assert np.allclose(found["mean.x"], wanted, atol=1e-5)
        assert np.array_equal(found["low.x"], np.where(elements > 0, lows, 0))
        assert np.array_equal(found["high.x"], np.where(elements > 0, highs, 0))


@pytest.mark.parametrize("name", ["itself", "Sigmoid", "Silu"])
@given(low=st.floats(-50, 50, width=32), high=st.floats(-50, 50, width=32))
def test_extremes_of_a_curve_are_those_of_a_dense_grid(name: str, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    grid = np.linspace(low, high, 20_001, dtype=np.float32)
    exact = {"itself": grid, "Sigmoid": 1 / (1 + np.exp(-grid.astype(np.float64)))}
    exact["Silu"] = grid * exact["Sigmoid"]

    least, most = CURVES[name].extremes(np.float32([low]), np.float32([high]))

    assert least[0] == pytest.approx(exact[name].min(), abs=1e-5)
    assert most[0] == pytest.approx(exact[name].max(), abs=1e-5)


@pytest.mark.parametrize("whole", [taps.WHOLE, 0], ids=["small", "large"])
def test_curves_of_a_value_are_told_by_its_tap(whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sigmoid and SiLU of one value: extremes, quantiles, means by channel as if tapped."""
    monkeypatch.setattr(taps, "WHOLE", whole)
    random = np.random.default_rng(0)
    model = onnx.parser.parse_model(SWISH)
    w = random.normal(0, 0.15, size=(8, 8, 3, 3)).astype(np.float32)
    feeds = [
        {"x": random.normal(size=(1, 8, 48, 48)).astype(np.float32), "w": w} for _ in range(32)
    ]
    wanted = taps.Wanted(values=("first", "gate", "swish"), means={"swish": 1})

    graph = ir.serde.deserialize_model(model)
    found = collect(graph, wanted, lambda: iter(feeds), samples=32, threads=1)

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for value in ("gate", "swish"):
        each = np.stack([session.run([value], feed)[0].reshape(8, -1) for feed in feeds])
        tensor = found.tensor(value)
        assert np.allclose(tensor.sample_high, each.max(axis=(1, 2)), rtol=1e-5)
        assert np.allclose(tensor.sample_low, each.min(axis=(1, 2)), atol=1e-4)
        mass = np.cumsum(tensor.counts) / tensor.counts.sum()
        for share in (0.05, 0.25, 0.5, 0.75, 0.95):
            edge = tensor.edges[1:][np.searchsorted(mass, share)]
            assert np.mean(each <= edge) == pytest.approx(share, abs=0.02)
        _, high = Percentile().range(tensor, symmetric=False)
        assert high == pytest.approx(np.quantile(each, 0.99995), rel=0.02)
    sampled = each.size / 8 / 9  # elements of a channel, at least
    error = found.channels["swish"].mean - each.mean(axis=(0, 2))
    assert (np.abs(error) < 6 * each.std(axis=(0, 2)) / np.sqrt(sampled)).all()


def test_values_that_only_the_first_sample_makes_equal_in_size() -> None:
    """They are looked at together then, and each by itself from there on."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 18]>
    g (float[1, L, 8] x, float[1, 5, 8] fixed) => (float[1, L, 8] a, float[1, 5, 8] b)
    { a = Abs(x)
      b = Neg(fixed) }""")
    random = np.random.default_rng(0)
    feeds = [
        {
            "x": random.normal(size=(1, length, 8)).astype(np.float32),
            "fixed": random.normal(size=(1, 5, 8)).astype(np.float32),
        }
        for length in (5, 0, 7, 1)
    ]

    graph = ir.serde.deserialize_model(model)
    wanted = taps.Wanted(values=("a", "b"))
    found = collect(graph, wanted, lambda: iter(feeds), samples=4, threads=1)

    a = [np.abs(feed["x"]) for feed in feeds if feed["x"].size]
    assert np.array_equal(found.tensor("a").sample_high, [x.max() for x in a])
    assert found.tensor("a").counts.sum() == sum(x.size for x in a)
    assert np.array_equal(found.tensor("b").sample_low, [-f["fixed"].max() for f in feeds])
    assert found.tensor("b").counts.sum() == 4 * 40
