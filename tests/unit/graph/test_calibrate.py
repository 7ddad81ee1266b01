"""The calibration pass, on small models with a few samples: what it finds, what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from gossamer.errors import CalibrationError
from gossamer.graph import taps
from gossamer.graph.calibrate import collect, load, save
from gossamer.graph.observers.percentile import Percentile
from gossamer.graph.taps import Wanted
from gossamer.runtime import Feed
from gossamer.statistics import ChannelStatistics, Statistics

CONVOLUTIONS = """<ir_version: 8, opset_import: ["": 18]>
g (float[batch, 3, 40, 40] image) => (float[batch, 16, 40, 40] sum)
{ first = Conv <pads = [1, 1, 1, 1]> (image, w1)
  relu = Relu(first)
  flat = Flatten(relu)
  second = Conv <pads = [1, 1, 1, 1]> (relu, w2)
  sum = Add(relu, second) }"""

TOKENS = """<ir_version: 8, opset_import: ["": 18]>
g (float[1, length, 64] x) => (float[1, length, 256] y, float[1, length, length] scores)
{ hidden = MatMul(x, w)
  y = Tanh(hidden)
  turned = Transpose <perm = [0, 2, 1]> (y)
  scores = MatMul(y, turned) }"""


def built(text: str, **weights: NDArray[np.float32]) -> ir.Model:
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        ir.serde.serialize_tensor(ir.tensor(w, name=name)) for name, w in weights.items()
    )
    return ir.serde.deserialize_model(model)


@pytest.fixture(scope="module")
def convolutions() -> ir.Model:
    random = np.random.default_rng(0)
    return built(
        CONVOLUTIONS,
        w1=random.normal(size=(16, 3, 3, 3)).astype(np.float32),
        w2=random.normal(size=(16, 16, 3, 3)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def tokens() -> ir.Model:
    return built(TOKENS, w=np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32))


@pytest.fixture(scope="module", params=[taps.WHOLE, 0], ids=["small", "large"])
def model_size(request: pytest.FixtureRequest) -> Iterator[None]:
    """Values come out whole, as those of small models do, or through taps of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taps, "WHOLE", request.param)
        yield


@pytest.fixture(scope="module")
def statistics(convolutions: ir.Model, model_size: None) -> Statistics:  # noqa: ARG001
    """Of 24 images."""
    return observed(convolutions, ("image", "first", "relu", "flat", "second", "sum"), images(24))


def images(count: int = 6) -> list[Feed]:
    random = np.random.default_rng(1)
    scales = random.lognormal(size=count)
    return [{"image": (s * random.normal(size=(1, 3, 40, 40))).astype(np.float32)} for s in scales]


def sentences(lengths: tuple[int, ...]) -> list[Feed]:
    random = np.random.default_rng(1)
    return [{"x": random.standard_t(4, size=(1, n, 64)).astype(np.float32)} for n in lengths]


def observed(
    model: ir.Model | Path, values: tuple[str, ...], feeds: list[Feed], seed: int = 0
) -> Statistics:
    return collect(
        model, Wanted(values=values), lambda: iter(feeds), samples=len(feeds), threads=1, seed=seed
    )


def activations(model: ir.Model, value: str, feeds: list[Feed]) -> list[NDArray[np.float32]]:
    """The value's elements in each sample, from plain onnxruntime."""
    if value in feeds[0]:
        return [f[value].ravel() for f in feeds]  # type: ignore[misc]
    copy = model.clone()
    found = next(o for node in copy.graph for o in node.outputs if o.name == value)
    found.type = ir.TensorType(ir.DataType.FLOAT)
    copy.graph.outputs[:] = [found]
    content = ir.serde.serialize_model(copy).SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return [session.run([value], f)[0].ravel() for f in feeds]


def test_extremes_of_images_are_exact(convolutions: ir.Model, statistics: Statistics) -> None:
    for value, tensor in statistics.tensors.items():  # kernels of another graph add otherwise
        wanted = activations(convolutions, value, images(24))
        np.testing.assert_allclose(tensor.sample_high, [x.max() for x in wanted], rtol=1e-6)
        np.testing.assert_allclose(tensor.sample_low, [x.min() for x in wanted], rtol=1e-6)
        assert (tensor.low, tensor.high) == (min(tensor.sample_low), max(tensor.sample_high))


@pytest.mark.usefixtures("model_size")
def test_extremes_of_ragged_sequences_are_exact(tokens: ir.Model) -> None:
    values, feeds = ("x", "hidden", "y", "scores"), sentences((5, 64, 1, 200, 33))
    statistics = observed(tokens, values, feeds)

    for value in values:
        wanted = activations(tokens, value, feeds)
        tensor = statistics.tensor(value)
        assert np.array_equal(tensor.sample_high, [x.max() for x in wanted])
        assert np.array_equal(tensor.sample_low, [x.min() for x in wanted])


def test_runs_side_by_side_tell_the_same_every_time(convolutions: ir.Model) -> None:
    wanted = Wanted(values=("first",), means={"relu": 1})
    one, two, again = (
        collect(convolutions, wanted, lambda: iter(images(24)), samples=24, threads=threads)
        for threads in (1, 2, 2)
    )
    a, b, c = (found.tensor("first") for found in (one, two, again))
    assert np.array_equal(a.sample_high, b.sample_high)
    assert np.array_equal(b.counts, c.counts)
    assert np.array_equal(two.channels["relu"].mean, again.channels["relu"].mean)


@pytest.mark.usefixtures("model_size")
def test_channels_of_images_and_ragged_sequences(convolutions: ir.Model, tokens: ir.Model) -> None:
    feeds = images(5)
    wanted = Wanted(values=("relu",), means={"relu": 1, "image": 1, "flat": -1})
    found = collect(convolutions, wanted, lambda: iter(feeds), samples=5, threads=1).channels
    assert set(found) == {"relu", "image", "flat"}
    x = np.stack(activations(convolutions, "relu", feeds)).reshape(5, 16, -1)
    assert np.allclose(found["relu"].mean, x.mean(axis=(0, 2)), atol=1e-5)
    assert np.allclose(found["flat"].mean, x.reshape(5, -1).mean(axis=0), atol=1e-5)
    assert found["relu"].low is None

    feeds = sentences((5, 64, 1, 33))
    wanted = Wanted(values=("y",), means={"x": -1, "hidden": -1}, extremes={"hidden"})
    found = collect(tokens, wanted, lambda: iter(feeds), samples=4, threads=1).channels
    rows = [a.reshape(-1, 256) for a in activations(tokens, "hidden", feeds)]
    assert np.array_equal(found["hidden"].low, np.concatenate(rows).min(axis=0))
    assert np.array_equal(found["hidden"].high, np.concatenate(rows).max(axis=0))
    mean = np.mean([r.mean(axis=0) for r in rows], axis=0)  # every sentence counts the same
    assert np.allclose(found["hidden"].mean, mean, atol=1e-5)


def test_tails_of_the_histogram_are_those_of_all_elements(
    convolutions: ir.Model, statistics: Statistics
) -> None:
    for value in ("first", "relu", "sum"):
        x = np.concatenate(activations(convolutions, value, images(24)))
        _, high = Percentile().range(statistics.tensor(value), symmetric=False)
        assert high == pytest.approx(np.quantile(x, 0.99995), rel=0.02)


def test_the_body_of_the_histogram_is_that_of_all_elements(
    convolutions: ir.Model, statistics: Statistics
) -> None:
    x = np.concatenate(activations(convolutions, "sum", images(24)))
    tensor = statistics.tensor("sum")

    mass = np.cumsum(tensor.counts) / tensor.counts.sum()
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        edge = tensor.edges[1:][np.searchsorted(mass, share)]
        assert np.mean(x <= edge) == pytest.approx(share, abs=0.02)
    assert tensor.counts.sum() == pytest.approx(len(x), rel=0.02)
    assert len(tensor.counts) >= 2048
    assert tensor.edge_low <= tensor.low <= tensor.high <= tensor.edge_high


def test_views_of_one_value_have_the_same_statistics(statistics: Statistics) -> None:
    assert statistics.tensor("flat") is statistics.tensor("relu")


def test_activations_are_freed_as_in_plain_inference() -> None:
    """96 values of 1 MiB each; the Transpose at the end once kept all of them alive."""
    layers = "".join(
        f"c{i} = Conv <pads = [1, 1, 1, 1], group = 16> (r{i}, w) r{i + 1} = Relu(c{i})"
        for i in range(48)
    )
    model = built(
        f"""<ir_version: 8, opset_import: ["": 18]>
        g (float[1, 16, 128, 128] r0) => (float[1, 128, 128, 16] y)
        {{ {layers} y = Transpose <perm = [0, 2, 3, 1]> (r48) }}""",
        w=np.full((16, 1, 3, 3), 0.2, np.float32),
    )
    feeds = [{"r0": np.random.default_rng(0).normal(size=(1, 16, 128, 128)).astype(np.float32)}]

    found = observed(model, tuple(f"{kind}{i}" for i in range(1, 48) for kind in "cr"), feeds)

    assert len(found.tensors) == 94
    assert found.peak_rss_bytes < 1.5 * found.plain_rss_bytes


def test_the_same_call_gives_the_same_numbers(tokens: ir.Model) -> None:
    feeds = sentences((40, 7, 90))

    one, other = (observed(tokens, ("y", "scores"), feeds, seed=3) for _ in range(2))

    for name, tensor in one.tensors.items():
        assert np.array_equal(tensor.counts, other.tensor(name).counts)
        assert np.array_equal(tensor.sample_high, other.tensor(name).sample_high)
        assert tensor.edge_low == other.tensor(name).edge_low


def test_the_model_is_left_as_it_was(convolutions: ir.Model) -> None:
    before = ir.serde.serialize_model(convolutions).SerializeToString()

    observed(convolutions, ("relu",), images(2))

    assert ir.serde.serialize_model(convolutions).SerializeToString() == before


def test_a_file_is_calibrated_like_the_model_in_it(convolutions: ir.Model, tmp_path: Path) -> None:
    ir.save(convolutions, tmp_path / "model.onnx")

    one = observed(tmp_path / "model.onnx", ("sum",), images())
    other = observed(convolutions, ("sum",), images())

    assert np.array_equal(one.tensor("sum").counts, other.tensor("sum").counts)


def test_costs_of_the_pass_and_of_plain_inference_are_told(statistics: Statistics) -> None:
    assert statistics.samples == 24
    assert statistics.seconds > 0
    assert statistics.plain_seconds > 0
    assert 2**24 < statistics.plain_rss_bytes < 2**31
    assert statistics.peak_rss_bytes < 1.5 * statistics.plain_rss_bytes


def test_only_the_samples_asked_for_are_used(convolutions: ir.Model) -> None:
    taken = []

    def feeds() -> Iterator[Feed]:
        for i, feed in enumerate(images(8)):
            taken.append(i)
            yield feed

    statistics = collect(convolutions, Wanted(values=("sum",)), feeds, samples=3, threads=1)

    assert (statistics.samples, taken) == (3, [0, 1, 2])
    assert len(statistics.tensor("sum").sample_low) == 3


def test_asking_for_nothing_gives_nothing(convolutions: ir.Model) -> None:
    assert observed(convolutions, (), images(2)).tensors == {}


def test_a_value_without_elements_is_absent(tokens: ir.Model) -> None:
    statistics = observed(tokens, ("y",), sentences((0, 0)))

    with pytest.raises(CalibrationError, match="statistics of 'y'"):
        statistics.tensor("y")


def test_empty_samples_among_others_count_nothing(tokens: ir.Model) -> None:
    feeds = sentences((50, 0, 20))

    tensor = observed(tokens, ("y",), feeds).tensor("y")

    assert len(tensor.sample_low) == 2
    assert tensor.counts.sum() == pytest.approx(70 * 256, rel=0.05)


def test_saved_statistics_come_back_equal(statistics: Statistics, tmp_path: Path) -> None:
    ends = np.arange(3, dtype=np.float32)
    channels = {
        "a": ChannelStatistics(mean=ends),
        "b": ChannelStatistics(mean=ends, low=-ends, high=ends),
    }
    statistics = replace(statistics, channels=channels)
    save(statistics, tmp_path / "statistics.npz")
    again = load(tmp_path / "statistics.npz")

    assert again.channels["a"].low is None
    assert np.array_equal(again.channels["b"].low, -ends)
    assert again.encode() == statistics.encode()
    assert list(again.tensors) == list(statistics.tensors)
    assert again.seconds == statistics.seconds
    assert again.tensor("sum").high == statistics.tensor("sum").high


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda _: b"", lambda b: b"x" + b[9:]])
def test_damaged_statistics_are_refused(
    statistics: Statistics, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "statistics.npz"
    path.write_bytes(damage(statistics.encode()))

    with pytest.raises(CalibrationError, match="Delete the file"):
        load(path)


def test_absent_statistics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="No such file"):
        load(tmp_path / "statistics.npz")


def test_no_samples_are_refused(convolutions: ir.Model) -> None:
    with pytest.raises(CalibrationError, match="at least one calibration sample"):
        collect(convolutions, Wanted(values=("sum",)), lambda: iter(()), samples=4, threads=1)


@pytest.mark.parametrize("value", ["nothing", "w1"])
def test_a_value_that_is_no_activation_is_refused(convolutions: ir.Model, value: str) -> None:
    with pytest.raises(CalibrationError, match=f"a value called {value!r}"):
        observed(convolutions, (value,), images(1))


def test_a_value_of_integers_is_refused() -> None:
    model = built(
        """<ir_version: 8, opset_import: ["": 18]>
        g (int64[2] x) => (int64[2] y) { y = Add(x, x) }"""
    )

    with pytest.raises(CalibrationError, match="float32 numbers in 'y'"):
        observed(model, ("y",), [{"x": np.zeros(2, np.int64)}])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_numbers_in_a_sample_name_the_input_and_the_sample(
    convolutions: ir.Model, bad: float
) -> None:
    feeds = images(4)
    feeds[2]["image"][0, 1, 3, 4] = bad

    with pytest.raises(CalibrationError, match=r"input 'image'.*sample 2"):
        observed(convolutions, ("relu",), feeds)


@pytest.mark.usefixtures("model_size")
@pytest.mark.parametrize(("size", "place"), [(4, 1), (100_000, 64), (100_000, 65)])
@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_bad_numbers_inside_name_the_value_and_the_sample(
    size: int, place: int, bad: float
) -> None:
    """log(0) is -inf, log(-1) is NaN; the large value is tapped, the small one comes whole."""
    model = built(
        f"""<ir_version: 8, opset_import: ["": 18]>
        g (float[1, {size}] x) => (float[1, {size}] y) {{ l = Log(x)  y = Abs(l) }}"""
    )
    feeds = [{"x": np.full((1, size), 2.0, np.float32)} for _ in range(4)]
    feeds[3]["x"][0, place] = bad

    with pytest.raises(CalibrationError, match=r"finite numbers in '[ly]'.*sample 3"):
        observed(model, ("l",), feeds)


def test_a_sample_that_does_not_fit_the_model_is_refused(convolutions: ir.Model) -> None:
    with pytest.raises(CalibrationError, match="a model that runs"):
        observed(convolutions, ("relu",), [{"image": np.zeros((1, 5, 40, 40), np.float32)}])


def test_a_graph_that_the_runtime_refuses_is_refused() -> None:
    model = built(
        """<ir_version: 8, opset_import: ["": 18, "strange": 1]>
        g (float[2] x) => (float[2] y) { y = strange.Unknown(x) }"""
    )

    with pytest.raises(CalibrationError, match="Unknown"):
        observed(model, ("y",), [{"x": np.zeros(2, np.float32)}])


def test_a_process_that_dies_is_told(
    convolutions: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")

    with pytest.raises(CalibrationError, match="ended with code 1"):
        observed(convolutions, ("relu",), images(1))


@pytest.mark.usefixtures("model_size")
def test_a_huge_fill_value_counts_as_what_it_is() -> None:
    model = built(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[1, 50000] x) => (float[1, 50000] y) { y = Add(x, x) }"""
    )
    x = np.random.default_rng(0).normal(size=(1, 50_000)).astype(np.float32)
    x[0, :7] = -1.5e38

    tensor = observed(model, ("y",), [{"x": x}] * 3).tensor("y")

    assert tensor.low == np.float32(-3e38)
    assert np.isfinite(tensor.counts).all()
