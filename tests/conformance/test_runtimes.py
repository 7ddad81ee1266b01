"""What every runtime keeps to, whoever wrote it: it runs for real, alone and in a child."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from gossamer import plugins
from gossamer.artifact import sha256
from gossamer.errors import BuildError, GossamerError, MeasureError
from gossamer.measure.isolate import Isolated
from gossamer.runtime import Runtime, Session
from zoo import runnable

INSTALLED = [n for n in plugins.names("runtimes") if plugins.load("runtimes", n)().is_installed()]
MARKS = {"openvino": "openvino", "ort-cuda": "gpu", "tensorrt": "gpu"}
REAL = ["cifar10/resnet20.onnx", "speech_commands/kwt1.onnx", "stories260k/stories260k.onnx"]


@pytest.fixture(
    params=[
        pytest.param(n, marks=[getattr(pytest.mark, MARKS[n])] if n in MARKS else [])
        for n in INSTALLED
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    """The name of one installed runtime after the other."""
    return str(request.param)


@pytest.fixture
def runtime(name: str) -> Runtime:
    loaded: Runtime = plugins.load("runtimes", name)()
    return loaded


def opened(runtime: Runtime, model: Path, folder: Path) -> Session:
    return runtime.open(runtime.build(model, folder / "built")[0], threads=1, precision="f32")


def signature(session: Session) -> dict[str, tuple[str, int]]:
    """Type and rank of every input and output by name."""
    both = (*session.inputs, *session.outputs)
    return {t.name: (t.dtype, -1 if t.shape is None else len(t.shape)) for t in both}


def test_it_names_its_version(runtime: Runtime) -> None:
    assert runtime.version()[0].isdigit()


def test_it_computes_what_the_graph_says(runtime: Runtime, tmp_path: Path) -> None:
    session = opened(runtime, runnable.affine(tmp_path), tmp_path)

    for batch in (1, 3):
        feed = runnable.affine_feed(batch)
        outputs = session.run(feed)
        assert list(outputs) == ["logits"]
        # the same few sums in float32, perhaps in another order
        np.testing.assert_allclose(
            outputs["logits"], runnable.affine_by_hand(feed), rtol=1e-6, atol=1e-6
        )


def test_sessions_side_by_side_give_the_same_at_the_same_time(
    runtime: Runtime, tmp_path: Path
) -> None:
    path = runtime.build(runnable.affine(tmp_path), tmp_path / "built")[0]
    feeds = [runnable.affine_feed(n) for n in range(1, 9)]

    def every(session: Session) -> list[np.ndarray]:
        return [session.run(feed)["logits"] for feed in feeds]

    sessions = runtime.open_parallel(path, threads=2, precision="f32")
    with ThreadPoolExecutor(len(sessions)) as pool:  # each session in one thread
        outputs = list(pool.map(every, sessions))

    assert sessions
    for found in outputs:
        for feed, got in zip(feeds, found, strict=True):
            np.testing.assert_allclose(got, runnable.affine_by_hand(feed), rtol=1e-6, atol=1e-6)


def test_it_tells_what_its_operators_take_or_nothing(runtime: Runtime, tmp_path: Path) -> None:
    path = runtime.build(runnable.affine(tmp_path), tmp_path / "built")[0]

    found = runtime.operator_times(path, runnable.affine_feed(64), threads=1, calls=3)

    assert bool(found) == (type(runtime).__name__ in {"Ort", "OpenVino"})
    assert len({t.name for t in found}) == len(found)
    assert all(t.operator and t.kernel and t.seconds >= 0 for t in found)


def test_inputs_and_outputs_keep_names_types_and_ranks(runtime: Runtime, tmp_path: Path) -> None:
    session = opened(runtime, runnable.every_type(tmp_path), tmp_path)

    assert signature(session) == {
        "x": ("float32", 2),
        "flag": ("bool", 1),
        "brain": ("bfloat16", 1),
        "half": ("float16", 1),
        "count": ("int64", 1),
        "out/same:0": ("float32", 2),
        "plain": ("float32", 2),
        "twin": ("float32", 2),
        "kept": ("float32", 2),
        "not_flag": ("bool", 1),
        "brain_out": ("bfloat16", 1),
        "doubled": ("float16", 1),
        "more": ("int64", 1),
    }


def test_values_of_every_type_pass_through(runtime: Runtime, tmp_path: Path) -> None:
    session = opened(runtime, runnable.every_type(tmp_path), tmp_path)
    feed = {
        "x": np.array([[-1.5, 2.0, 0.0]], np.float32),
        "flag": np.array([True]),
        "brain": np.array([1.0, -3.5], ml_dtypes.bfloat16),
        "half": np.array([0.5, -2.0], np.float16),
        "count": np.array([-(2**20)]),  # OpenVINO's CPU plug-in computes int64 in 32 bits
    }

    outputs = session.run(feed)

    expected = {
        "out/same:0": feed["x"],
        "plain": np.maximum(feed["x"], 0),
        "twin": np.maximum(feed["x"], 0),
        "kept": np.maximum(feed["x"], 0),
        "not_flag": np.array([False]),
        "brain_out": feed["brain"],
        "doubled": feed["half"] * np.float16(2),
        "more": feed["count"] * 2,
    }
    assert {n: x.dtype for n, x in outputs.items()} == {n: x.dtype for n, x in expected.items()}
    assert {n: x.tolist() for n, x in outputs.items()} == {
        n: x.tolist() for n, x in expected.items()
    }


def test_two_builds_write_the_same_bytes(runtime: Runtime, tmp_path: Path) -> None:
    for model in (runnable.affine(tmp_path), runnable.branching(tmp_path)):
        first = runtime.build(model, tmp_path / "first")
        second = runtime.build(model, tmp_path / "second")

        assert [f.name for f in first] == [f.name for f in second]
        assert [sha256(f) for f in first] == [sha256(f) for f in second]


def test_weights_beside_the_graph_come_along(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    model = runnable.affine(tmp_path / "given", external="affine.weights")
    files = runtime.build(model, tmp_path / "built")
    (tmp_path / "given").rename(tmp_path / "gone")

    outputs = runtime.open(files[0], threads=1).run(runnable.affine_feed())

    assert {f.parent for f in files} == {tmp_path / "built"}
    np.testing.assert_allclose(
        outputs["logits"], runnable.affine_by_hand(runnable.affine_feed()), rtol=0.01
    )


def test_a_file_that_is_no_model_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"received .*model\.onnx: \S"):
        runtime.build(runnable.garbage(tmp_path), tmp_path / "built")


def test_a_built_file_that_is_damaged_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    path = runtime.build(runnable.affine(tmp_path), tmp_path / "built")[0]
    path.write_bytes(path.read_bytes()[:40])

    with pytest.raises(BuildError, match=f"received {path.name}: "):
        runtime.open(path, threads=1)


def test_a_model_of_text_is_refused_by_name_and_type(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"tensors of numbers; received '[xy]' of type .*string"):
        opened(runtime, runnable.wordy(tmp_path), tmp_path)


@pytest.mark.parametrize(
    "feed",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"x": np.zeros((1, 5), np.float32)}, id="another shape"),
        pytest.param({"x": np.zeros((1, 2), np.float64)}, id="another type"),
        pytest.param({"y": np.zeros((1, 2), np.float32)}, id="another name"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    runtime: Runtime, tmp_path: Path, feed: dict[str, np.ndarray]
) -> None:
    session = opened(runtime, runnable.affine(tmp_path), tmp_path)

    with pytest.raises(MeasureError, match=r"x float32.*received .+"):
        session.run(feed)


@pytest.mark.parametrize("model", REAL)
def test_real_models_keep_their_border_and_agree_across_runtimes(
    runtime: Runtime, real: Path, tmp_path: Path, model: str
) -> None:
    given = plugins.load("runtimes", "ort")().open(real / model, threads=1)
    session = opened(runtime, real / model, tmp_path)
    feed = made_up(given)

    assert signature(session) == signature(given)
    ours, theirs = session.run(feed), given.run(feed)
    for output in given.outputs:
        # float32 on both: other orders of summation
        np.testing.assert_allclose(ours[output.name], theirs[output.name], rtol=1e-3, atol=1e-4)


def made_up(session: Session) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    feed = {}
    for tensor in session.inputs:
        shape = [d if isinstance(d, int) else 1 + i * 7 for i, d in enumerate(tensor.shape or ())]
        values = random.standard_normal(shape) if "float" in tensor.dtype else np.full(shape, 3)
        feed[tensor.name] = values.astype(tensor.dtype)
    return feed


def test_a_child_killed_in_the_middle_is_an_error_and_no_hang(
    name: str, runtime: Runtime, tmp_path: Path
) -> None:
    path = runtime.build(runnable.affine(tmp_path), tmp_path / "built")[0]
    with Isolated(name, path, threads=1) as session:
        assert session.pid is not None
        killer = threading.Timer(0.5, os.kill, (session.pid, signal.SIGKILL))
        killer.start()
        before = time.monotonic()
        with pytest.raises(MeasureError, match=f"{path.name} to run on {name}.*SIGKILL.*memory"):
            session.time(runnable.affine_feed(), seconds=60)
        killer.join()

    assert time.monotonic() - before < 30


def test_memory_is_that_of_the_child_and_of_its_work(
    name: str, runtime: Runtime, tmp_path: Path
) -> None:
    resident = np.ones(1 << 30, np.uint8)  # of the parent; torch alone takes 280 MB
    path = runtime.build(runnable.allocating(tmp_path), tmp_path / "built")[0]
    with Isolated(name, path, threads=1) as session:
        session.run({"size": np.array([1])})
        small = session.peak_rss()
        session.run({"size": np.array([50_000_000])})
        large = session.peak_rss()

    assert 10e6 < small < resident.nbytes / 2
    assert large - small > 150e6  # 50 million float32 values are 200 MB


def test_errors_cross_the_process_with_their_class_and_parts(
    name: str, runtime: Runtime, tmp_path: Path
) -> None:
    path = runnable.garbage(tmp_path)
    with pytest.raises(BuildError) as here:
        runtime.open(path, threads=1)
    with pytest.raises(BuildError) as there, Isolated(name, path, threads=1):
        pass

    parts = [(e.value.needed, e.value.received) for e in (here, there)]
    assert parts[0] == parts[1]
    assert there.value.hint.startswith(here.value.hint)
    assert isinstance(there.value, GossamerError)
