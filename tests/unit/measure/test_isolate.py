"""One session in one child process, and every way in which that can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gossamer.errors import BuildError, MeasureError, RecipeError
from gossamer.measure.isolate import Isolated, Successive, build
from gossamer.memory import peak_rss
from zoo import crashing, runnable

ENDLESS = 10**15
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Isolated]:
    with Isolated("ort", runnable.affine(tmp_path), threads=1, timeout=120) as opened:
        yield opened


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Isolated]:
    """A session whose run takes as many turns as it is fed."""
    with Isolated("ort", runnable.counting(tmp_path), threads=1, timeout=120) as opened:
        yield opened


def is_alive(pid: int) -> bool:
    """Whether a process runs: it exists, and is more than an entry that nobody has read."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def assert_ends(pid: int, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < end, "the child lives on"
        time.sleep(0.02)


def test_it_is_a_session_that_tells_its_border(session: Isolated) -> None:
    feed = runnable.affine_feed()

    outputs = session.run(feed)

    assert [t.name for t in session.inputs] == ["x"]
    assert session.inputs[0].shape == ("batch", 2)
    assert [t.name for t in session.outputs] == ["logits"]
    assert 0 < session.load_seconds < 60
    np.testing.assert_allclose(outputs["logits"], runnable.affine_by_hand(feed), rtol=1e-6)


def test_time_gives_at_least_the_calls_and_the_seconds_asked_for(session: Isolated) -> None:
    by_calls = session.time(runnable.affine_feed(), calls=7)
    by_seconds = session.time(runnable.affine_feed(), calls=2, seconds=0.2)

    assert by_calls.shape == (7,)
    assert len(by_seconds) > 7
    assert by_seconds.dtype == np.float64
    assert (by_seconds > 0).all()
    assert by_seconds[:-1].sum() < 0.2  # the last call is the one during which time was up


def test_time_is_that_of_the_model(endless: Isolated) -> None:
    short = np.median(endless.time(runnable.counting_feed(100), calls=5))
    long = np.median(endless.time(runnable.counting_feed(10_000), calls=5))

    assert long > 10 * short


@LINUX
def test_the_child_runs_on_as_many_cpus_as_it_has_threads(session: Isolated) -> None:
    assert session.pid is not None
    assert len(os.sched_getaffinity(session.pid)) == 1
    assert os.sched_getaffinity(session.pid) <= os.sched_getaffinity(0)


@LINUX
def test_the_child_loads_its_runtime_alone(session: Isolated) -> None:
    maps = Path(f"/proc/{session.pid}/maps").read_text()

    assert "onnxruntime" in maps
    assert not any(f"site-packages/{name}" in maps for name in ("torch", "openvino", "onnx/"))


@LINUX
def test_the_child_has_a_process_group_of_its_own(session: Isolated) -> None:
    # so that Ctrl-C in a terminal reaches the parent alone
    assert session.pid is not None
    assert os.getpgid(session.pid) == session.pid != os.getpgid(0)


def test_inputs_that_do_not_fit_are_an_error_and_the_session_lives_on(session: Isolated) -> None:
    with pytest.raises(MeasureError, match="x float32"):
        session.run({"x": np.zeros((1, 9), np.float32)})
    with pytest.raises(MeasureError, match="arrays of numbers"):
        session.run({"x": np.array(["text"])})

    assert session.run(runnable.affine_feed(1))["logits"].shape == (1, 3)


def test_a_runtime_that_does_not_exist_is_named_with_the_real_ones(tmp_path: Path) -> None:
    path = runnable.affine(tmp_path)

    with pytest.raises(RecipeError, match=r"'orr'.*ort"), Isolated("orr", path, threads=1):
        pass


def test_a_file_that_is_no_model_is_a_build_error(tmp_path: Path) -> None:
    path = runnable.garbage(tmp_path)

    with pytest.raises(BuildError, match=r"model\.onnx"), Isolated("ort", path, threads=1):
        pass


def test_a_call_that_takes_too_long_is_an_error_and_ends_the_child(endless: Isolated) -> None:
    pid = endless.pid
    assert pid is not None
    endless.timeout = 0.3

    with pytest.raises(
        MeasureError, match=r"counting\.onnx to run on ort.*no answer within 0\.3 s"
    ):
        endless.run(runnable.counting_feed(ENDLESS))

    assert not is_alive(pid)
    with pytest.raises(MeasureError, match="closed, or whose process has ended"):
        endless.run(runnable.counting_feed(1))


def test_opening_that_takes_too_long_is_a_build_error(tmp_path: Path) -> None:
    path = runnable.affine(tmp_path)

    with (
        pytest.raises(BuildError, match=r"to load on ort.*no answer within 0\.001 s"),
        Isolated("ort", path, threads=1, timeout=0.001),
    ):
        pass


def test_a_crash_is_told_by_its_signal_with_the_last_words(tmp_path: Path) -> None:
    path = runnable.affine(tmp_path)
    with Isolated("ort", path, threads=1) as session:
        assert session.pid is not None
        os.kill(session.pid, signal.SIGSEGV)

        with pytest.raises(MeasureError, match=r"to run on ort.*ended by SIGSEGV"):
            session.run(runnable.affine_feed())


def test_what_the_runtime_wrote_is_told_with_the_error(tmp_path: Path) -> None:
    # onnxruntime reports a failed run on stderr as well
    path = runnable.counting(tmp_path)
    with Isolated("ort", path, threads=1) as session:
        raw = Path(f"/proc/{session.pid}/fd/2")
        with raw.open("a") as stderr:
            stderr.write("first\n" * 50 + "the last words\n")

        with pytest.raises(MeasureError, match=r"It wrote: .*the last words$") as caught:
            session.run({})

    assert caught.value.hint.count("first") < 10


def test_an_interrupt_ends_the_child_in_the_middle_of_a_run(endless: Isolated) -> None:
    pid = endless.pid
    assert pid is not None
    before = signal.signal(signal.SIGUSR1, interrupted)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            endless.run(runnable.counting_feed(ENDLESS))
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)

    assert not is_alive(pid)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@LINUX
def test_the_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    path = runnable.counting(tmp_path)
    code = (
        "import pathlib, sys, numpy as np\n"
        "from gossamer.measure.isolate import Isolated\n"
        f"with Isolated('ort', pathlib.Path({str(path)!r}), threads=1) as session:\n"
        "    print(session.pid, flush=True)\n"
        f"    session.run({{'turns': np.array({ENDLESS}), 'x': np.ones(8, np.float32)}})\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.2)  # until the run is under way
    assert is_alive(pid)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert_ends(pid)


def test_files_are_opened_one_after_the_other_in_one_process(tmp_path: Path) -> None:
    with Successive("ort", threads=1) as process:
        first = process.open(runnable.affine(tmp_path), "f32")
        pid = first.pid
        outputs = first.run(runnable.affine_feed())
        second = process.open(runnable.counting(tmp_path))
        counted = second.run(runnable.counting_feed(1))
        with pytest.raises(BuildError, match=r"model\.onnx"):
            process.open(runnable.garbage(tmp_path))
        again = process.open(runnable.affine(tmp_path)).run(runnable.affine_feed())

        assert second.pid == pid
        assert [t.name for t in second.inputs] == ["x"]
        np.testing.assert_allclose(counted["y"], np.sin(np.ones(8)), rtol=1e-6)
        np.testing.assert_array_equal(again["logits"], outputs["logits"])
    assert pid is not None
    assert not is_alive(pid)


def test_a_file_that_brings_its_process_down_costs_no_other(tmp_path: Path) -> None:
    with Successive("ort", threads=1) as process:
        first = process.open(runnable.affine(tmp_path))
        assert first.pid is not None
        os.kill(first.pid, signal.SIGSEGV)
        with pytest.raises(BuildError, match="ended by SIGSEGV"):
            process.open(runnable.counting(tmp_path))

        outputs = process.open(runnable.affine(tmp_path)).run(runnable.affine_feed())

    np.testing.assert_allclose(outputs["logits"], runnable.affine_by_hand(runnable.affine_feed()))


def test_closing_twice_is_as_good_as_once(tmp_path: Path) -> None:
    session = Isolated("ort", runnable.affine(tmp_path), threads=1)
    session.close()
    with session:
        pid = session.pid
        session.close()
    assert session.pid is None
    assert pid is not None
    assert not is_alive(pid)


@LINUX
def test_a_timed_session_is_at_rest_afterwards(tmp_path: Path) -> None:
    """Threads of ONNX Runtime spin for 45 ms after a run: four or five ticks of 10 ms."""
    with Isolated("ort", runnable.multiplying(tmp_path), threads=2, timeout=120) as session:
        for _ in range(20):  # on a busy machine a spinning thread may rest for others' sake
            session.time({"x": np.ones((256, 256), np.float32)}, calls=5)
            before = ticks(session.pid)
            time.sleep(0.2)
            used = ticks(session.pid) - before
            if used <= 1:
                break
        assert used <= 1


def ticks(pid: int | None) -> int:
    """CPU time that a process used, in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_crash_while_building_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(crashing.at_import("onnxruntime", tmp_path / "site")))

    with pytest.raises(BuildError, match=r"to build on ort.*ended by SIGSEGV"):
        build("ort", runnable.affine(tmp_path), tmp_path / "out")


def test_a_build_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"to build on ort.*no answer within 0\.001 s"):
        build("ort", runnable.affine(tmp_path), tmp_path / "out", timeout=0.001)


def test_peak_memory_is_read_in_kilobytes(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t 900 kB\nVmHWM:\t     64 kB\nVmRSS:\t 32 kB\n")

    assert peak_rss(status) == 64 * 1024


def test_peak_memory_without_proc_is_that_of_the_system(tmp_path: Path) -> None:
    assert 1e6 < peak_rss(tmp_path / "absent") < 1e12
