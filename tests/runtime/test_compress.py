"""Whole runs of compress: verdicts, and what happens when it is killed or short of room."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gossamer
from gossamer.errors import BuildError
from gossamer.progress import Silent
from gossamer.search import trial
from zoo import crashing, whole
from zoo.clock import QUICK
from zoo.network import RECORDER

pytestmark = pytest.mark.usefixtures("quick_clock")

TRIALS = 2  # the fused float graph and one static int8 candidate

# Sends a signal to its own process at one moment of a run that is called `sys.argv`.
SIGNALLED = (
    QUICK
    + """
import json, os, signal, sys
import gossamer
from gossamer.progress import Silent
from gossamer.report import publish
moment, options, number = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGINT, signal.default_int_handler)
def end(*_, **__):
    os.kill(os.getpid(), number)
class Watch(Silent):
    seen = 0
    def stage(self, name, total=None):
        if name == moment:
            end()
    def candidate(self, candidate):
        self.seen += 1
        if moment == f"candidate {self.seen}":
            end()
if moment == "copy of the winner":
    publish.shutil.copy2 = end
if moment == "reports":
    publish.yaml.safe_dump = end
gossamer.compress(**options, progress=Watch())
"""
)
# Has no room for any file of more than a page from the report split on.
FULL = (
    QUICK
    + """
import json, resource, sys
import gossamer
from gossamer.errors import StorageError
from gossamer.progress import Silent
class Watch(Silent):
    def stage(self, name, total=None):
        if name == "report split":
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    gossamer.compress(**json.loads(sys.argv[1]), progress=Watch())
except StorageError as error:
    print(error.hint)
    sys.exit(error.exit_code)
"""
)
MOMENTS = (
    *("open the model", "open the data", "try one row", "float baselines", "candidates"),
    *("candidate 1", "calibrate", "candidate 3", "report split", "copy of the winner", "reports"),
)
# a shell that starts the tests in the background lets them ignore Ctrl-C
HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
COMMAND = QUICK + "import sys; from gossamer.cli.main import main; main(sys.argv[1:])"


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every run of this file asks for."""
    folder = tmp_path_factory.mktemp("given")
    return {
        "model": str(whole.classifier(folder / "small.onnx")),
        "data": str(whole.samples(folder / "small.npz", 64)),
        "targets": ["ort-cpu"],
        "max_drop": "5%",
        "trials": TRIALS,
        "threads": 1,
    }


def arguments(options: dict[str, Any], out: Path) -> list[str]:
    """The same on the command line."""
    return [
        "compress", options["model"], "--data", options["data"], "--target", "ort-cpu",
        "--max-drop", "5%", "--trials", str(TRIALS), "--threads", "1", "--out", str(out),
    ]  # fmt: skip


def finished(out: Path) -> dict[str, str]:
    """The candidates that the study knows, as they were written."""
    if not (out / "study.db").exists():
        return {}
    with sqlite3.connect(out / "study.db") as database:
        rows = database.execute("SELECT id, document FROM trials").fetchall()
    database.close()
    return {
        identity: document
        for identity, document in rows
        if json.loads(document).get("label", "float32") != "float32"
    }


def check_whole(out: Path) -> None:
    """The folder is one that a run which nobody disturbed could have left."""
    document = json.loads((out / "result.json").read_text())
    assert document["verdict"] in {"met", "best_effort"}
    assert {p.name for p in (out / "model").iterdir()} == set(document["winner"]["files"])
    assert [p.name for p in out.rglob(".*")] == []


def is_absent_or_loads(out: Path) -> bool:
    """Whether there is no model yet, or a whole one."""
    import onnxruntime

    if not (out / "model").exists():
        return True
    onnxruntime.InferenceSession(
        str(out / "model" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    return True


def signalled_at(moment: str, options: dict[str, Any], out: Path, number: int) -> None:
    asked = json.dumps({**options, "out": str(out)})
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, moment, asked, str(int(number))],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == -number, done.stderr


def check_resumes(
    moment: str, options: dict[str, Any], out: Path, number: int = signal.SIGKILL
) -> None:
    signalled_at(moment, options, out, number)
    before = finished(out)
    assert not (out / "result.json").exists()
    assert is_absent_or_loads(out)

    result = gossamer.compress(**options, out=out, resume=True)

    assert result.exit_code in {0, 1}
    check_whole(out)
    after = {k: json.loads(v) for k, v in finished(out).items()}
    for identity, document in before.items():  # measured once; only the finalists' latency is new
        known = json.loads(document)
        assert after[identity]["peak_rss_bytes"] == known["peak_rss_bytes"]
        assert after[identity]["score"] == known["score"]


def test_a_run_that_was_killed_after_a_candidate_goes_on_behind_it(
    options: dict[str, Any], tmp_path: Path
) -> None:
    check_resumes("candidate 3", options, tmp_path / "out")


@pytest.mark.slow
def test_a_finalist_that_does_not_run_again_fails_and_the_run_goes_on(
    options: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    class Damage(Silent):
        """Breaks the files of all candidates but the float ones when finalists are timed."""

        def stage(self, name: str, total: int | None = None) -> None:
            if name == "finalists":
                for identity in finished(out):
                    for file in (out / "candidates" / identity).glob("*.onnx"):
                        file.write_bytes(b"damaged")

    result = gossamer.compress(**options, out=out, progress=Damage())

    assert result.winner.label == "float32"
    failed = [c for c in result.candidates if c.status == "failed"]
    assert failed
    assert all(c.reason and c.path is None for c in failed)
    check_whole(out)


@pytest.mark.slow
def test_finalists_are_not_blamed_for_a_float_model_that_does_not_run_again(
    options: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kept: dict[Path, bytes] = {}

    class Damage(Silent):
        """Breaks the files of the float model while finalists are timed, and mends them then."""

        def stage(self, name: str, total: int | None = None) -> None:
            if name == "finalists":
                others = finished(out)
                files = (out / "candidates").glob("*/*.onnx")
                kept.update((f, f.read_bytes()) for f in files if f.parent.name not in others)
            for file, content in kept.items():
                file.write_bytes(b"damaged" if name == "finalists" else content)

    result = gossamer.compress(**options, out=out, progress=Damage())

    assert kept
    assert result.winner.label != "float32"
    assert not [c for c in result.candidates if c.status == "failed"]
    check_whole(out)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_was_ended_at_any_moment_goes_on(
    options: dict[str, Any], tmp_path: Path, moment: str, number: int
) -> None:
    check_resumes(moment, options, tmp_path / "out", number)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_run_that_is_killed_again_and_again_ends_well(
    options: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    out, rng = tmp_path / "out", np.random.default_rng(seed)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments(options, out), "--resume"],
            stdout=subprocess.DEVNULL,
        )
        try:
            child.wait(timeout=float(rng.uniform(0.5, 8)))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert is_absent_or_loads(out)

    gossamer.compress(**options, out=out, resume=True)

    check_whole(out)


def test_a_run_that_is_interrupted_ends_with_3_and_goes_on(
    options: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", HEARS + COMMAND, *arguments(options, out), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (out / "candidates").exists() and child.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    told, beside = child.communicate(timeout=60)

    assert child.returncode == 3, beside
    assert "--resume" in json.loads(told)["error"]["hint"]
    assert beside.strip() == ""
    assert not (out / "result.json").exists()
    assert (out / "study.db").exists()


def test_a_full_disk_ends_with_3_and_the_run_goes_on_when_there_is_room(
    options: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", FULL, json.dumps({**options, "out": str(out)})],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert done.returncode == 3, done.stderr
    assert "--resume" in done.stdout
    assert finished(out)
    assert not (out / "result.json").exists()
    gossamer.compress(**options, out=out, resume=True)
    check_whole(out)


def test_a_run_reaches_for_no_network_and_leaves_nothing_at_home(
    options: dict[str, Any], tmp_path: Path
) -> None:
    home, attempts = tmp_path / "home", tmp_path / "attempts"
    (tmp_path / "sitecustomize.py").write_text(RECORDER)
    home.mkdir()
    attempts.touch()
    environment = {k: v for k, v in os.environ.items() if k not in {"CI", "TF_BUILD"}}
    environment |= {"PYTHONPATH": str(tmp_path), "HOME": str(home), "ATTEMPTS": str(attempts)}

    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments(options, tmp_path / "out")],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert done.returncode in {0, 1}, done.stderr
    assert done.stderr == ""  # quiet in a pipe
    assert f"Model: {tmp_path / 'out' / 'model'}" in done.stdout
    assert attempts.read_text() == ""
    assert list(home.rglob("*")) == []


@pytest.mark.slow
def test_a_runtime_that_crashes_costs_its_candidates_and_the_run_goes_on(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(crashing.at_import("openvino", tmp_path / "site")))
    asked = {**options, "targets": ["ort-cpu", "openvino-cpu"], "trials": None}

    result = gossamer.compress(**asked, out=tmp_path / "out")

    ended = {c.status for c in result.candidates if c.runtime == "openvino"}
    assert ended == {"failed"}
    assert all("SIGSEGV" in c.reason for c in result.candidates if c.runtime == "openvino")
    assert any(c.status == "ok" and not c.is_float for c in result.candidates)
    assert result.winner is not None
    assert result.winner.runtime == "ort"
    check_whole(tmp_path / "out")


def test_where_nothing_is_faster_the_float_model_wins(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BuildError("an operator that is known", "another")

    run = trial.run

    def run_float_alone(model: Any, recipe: Any, *rest: Any) -> Any:
        return refuse() if recipe.graph_steps else run(model, recipe, *rest)

    monkeypatch.setattr(trial, "run", run_float_alone)

    result = gossamer.compress(**options, out=tmp_path / "out")

    assert result.verdict == "met"
    assert result.winner is not None
    assert result.winner.is_float
    assert result.winner.speedup == 1.0
    assert "float" in result.reason
    failed = [c for c in result.candidates if c.status == "failed"]
    assert len(failed) == TRIALS  # one that a runtime refuses does not end the run
    assert all("operator that is known" in c.reason for c in failed)
    check_whole(tmp_path / "out")


@pytest.mark.parametrize(
    ("scale", "verdict"),
    [pytest.param(1.0, "met", marks=pytest.mark.slow), (60.0, "best_effort")],
)
def test_the_report_split_has_the_last_word(
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scale: float,
    verdict: str,
) -> None:
    def static(trials: Any, _: Any) -> Any:
        return next(c for c in trials.candidates.values() if c.label.startswith("static"))

    data = tmp_path / "data"
    data.mkdir()
    whole.samples(data / "train.npz", 64)
    whole.samples(data / "test.npz", 24, seed=2)
    with np.load(data / "test.npz") as found:
        image = found["image"] * scale  # what calibration has never seen is cut off
    np.savez(data / "test.npz", image=image)
    monkeypatch.setattr("gossamer.search.search.best", static)

    result = gossamer.compress(**{**options, "data": data}, out=tmp_path / "out")

    assert result.verdict == verdict
    assert result.winner is not None
    assert result.winner.report_interval is not None
    low, high = result.winner.report_interval
    assert low <= (result.winner.report_drop or 0.0) <= high
    assert ("contradicts" in result.reason) == (verdict == "best_effort")
