"""The command `sweep`: grids of settings, what is measured of them, kills, and bad input."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

import gossamer
from gossamer.progress import Silent
from gossamer.swept import Swept
from zoo import sequences
from zoo.sequences import run_of, written

Call = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("quick_clock")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sequences.folder(tmp_path_factory.mktemp("swept"))


GRID: dict[str, Any] = {
    "quantization_approach": ["dynamic", "static"],
    "operators_to_quantize": [["MatMul"], ["Gemm"]],
    "per_channel": [False, True],
    "calibration": {"method": "percentile", "num_calibration_samples": 8},
}

MATMUL = {"operators_to_quantize": ["MatMul"]}


@pytest.fixture(scope="module")
def swept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A finished sweep with settings that share files, and one that cannot be had."""
    scratch = tmp_path_factory.mktemp("sweep")
    runs = [
        run_of(folder, **{**GRID, "quantization_approach": "dynamic"}, input_lengths=[4, 8]),
        run_of(folder, aware_training=True, input_lengths=[4, 8]),
    ]
    return gossamer.sweep(written(scratch / "s.yaml", runs), scratch / "out", command="gossamer …")


def study(out: Path) -> dict[str, str]:
    if not (out / "study.db").exists():
        return {}
    database = sqlite3.connect(out / "study.db")
    try:
        return dict(database.execute("SELECT id, document FROM trials").fetchall())
    finally:
        database.close()


def finished(out: Path, *kinds: str) -> dict[str, str]:
    return {k: v for k, v in study(out).items() if k.split()[0] in kinds}


def test_every_combination_is_listed_once_with_the_float_model_in_front(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    run = run_of(folder, **{**GRID, "quantization_approach": [None, "dynamic", "static"]})

    told = call(
        "sweep", written(tmp_path / "s.yaml", run), "--dry-run", "--json", "--out", tmp_path / "out"
    )

    values = [s["values"] for s in told.document["settings"]]
    assert told.code == 0
    assert len(values) == 1 + 2 * 2 * 2
    assert values[0]["quantization_approach"] is None
    assert values[0].get("per_channel") is None
    assert {v["calibration.method"] for v in values if v["quantization_approach"] == "dynamic"} == {
        None
    }
    assert not (tmp_path / "out").exists()


def test_lists_in_mappings_vary_too(call: Call, folder: Path, tmp_path: Path) -> None:
    run = run_of(
        folder,
        quantization_approach="static",
        framework_args=[{"intra_op_num_threads": [1, 2]}, {}],
        calibration={
            "method": ["minmax", "percentile", "entropy"],
            "calibration_histogram_percentile": [99.9, 99.999],
        },
    )

    told = call("sweep", written(tmp_path / "s.yaml", run), "--dry-run", "--json")

    # a percentile counts for one of the methods alone
    assert len(told.document["settings"]) == 3 * (1 + 1 + 2 + 1)


def test_what_is_left_out_in_some_settings_varies(call: Call, folder: Path, tmp_path: Path) -> None:
    levels = [{"optimization_level": 1, "opset": 18}, {"opset": 18}]
    run = run_of(folder, framework_args=levels, quantization_approach="static")

    told = call("sweep", written(tmp_path / "s.yaml", run), "--dry-run").out

    assert [line.split("  ")[1] for line in told.splitlines()[:3]] == [
        "framework_args.optimization_level: None, quantization_approach: None",
        "framework_args.optimization_level: 1, quantization_approach: static",
        "framework_args.optimization_level: None, quantization_approach: static",
    ]


def test_a_dry_run_says_how_long_it_will_take(call: Call, folder: Path, tmp_path: Path) -> None:
    told = call("sweep", written(tmp_path / "s.yaml", run_of(folder, **GRID)), "--dry-run")

    assert "9 settings at 1 points each: about" in told.out
    assert "per_channel: False" in told.out


def test_settings_of_one_file_are_measured_once(swept: Swept) -> None:
    others = [s for s in swept.settings if s.values.get("operators_to_quantize") == ["Gemm"]]

    dynamic = {s.file for s in others if s.values["quantization_approach"] == "dynamic"}
    assert len(dynamic) == 1  # there is no Gemm in the model
    assert swept.files == 4  # float as it came and simplified, two ways to store weights
    assert swept.files < len([s for s in swept.settings if s.status == "ok"])
    assert len(finished(swept.out, "score")) == swept.files
    assert len(finished(swept.out, "time")) == swept.files * 2


def test_every_setting_is_timed_at_every_batch_and_length(swept: Swept) -> None:
    for setting in swept.settings:
        if setting.status == "ok":
            points = [(t.batch, t.length) for t in setting.timings]
            assert points == [(1, 4), (1, 8)]
            assert all(t.latency_ms["n"] > 0 and t.speedup_interval for t in setting.timings)
    assert all(t.speedup == 1 for t in swept.baseline.timings)


def test_scores_are_of_all_rows_that_did_not_calibrate(swept: Swept) -> None:
    assert swept.task["rows"] + swept.task["calibration"] == 48
    for setting in swept.settings:
        if setting.status == "ok":
            low, high = setting.drop_interval or (1, 0)
            assert low <= (setting.drop or 0) <= high


def test_weights_are_stored_as_asked(swept: Swept) -> None:
    dynamic = {
        s.values["per_channel"]: s.recipe["graph-steps"][-1]["quantize-dynamic"]
        for s in swept.settings
        if s.values["quantization_approach"] == "dynamic"
    }
    assert {k: v["granularity"] for k, v in dynamic.items()} == {
        False: "per-tensor",
        True: "per-channel",
    }


def test_a_setting_that_cannot_be_had_is_there_with_its_reason(swept: Swept) -> None:
    (failed,) = [s for s in swept.settings if s.status == "failed"]

    assert "a sweep does not train" in failed.reason
    assert "a sweep does not train" in (swept.out / "README.md").read_text()


def test_a_sweep_has_a_page_with_curves_over_its_lengths(swept: Swept) -> None:
    page = (swept.out / "report.html").read_text()

    assert page.count("<figure>") == 2
    assert "Latency and throughput by length" in page


def test_what_an_operator_does_not_match_is_said(swept: Swept) -> None:
    card = (swept.out / "README.md").read_text()

    assert (
        "Gemm: nothing in the graph is one" in card.split("# Measured otherwise than asked for")[1]
    )


def tables(card: str) -> Iterator[list[list[str]]]:
    tokens = MarkdownIt().enable("table").parse(card.split("---\n", 2)[2])
    rows: list[list[str]] = []
    for i, token in enumerate(tokens):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(tokens[i + 1].content.replace("\\", ""))
        elif token.type == "table_close":
            yield rows


def test_the_columns_of_the_card_are_what_varies(swept: Swept) -> None:
    scores, *times = tables((swept.out / "README.md").read_text())

    varied = list(swept.varied)
    assert {"aware_training", "quantization_approach", "per_channel"} < set(varied)
    assert "operators_to_quantize" in varied
    assert scores[0] == [*varied, "accuracy", "drop (95 %)", "size"]
    assert len(times) == 2
    assert {tuple(t[0][: len(varied)]) for t in times} == {tuple(varied)}
    assert {len(t) for t in (scores, *times)} == {1 + len(swept.settings)}


def test_the_card_tells_fixed_from_benchmarked_and_where_it_was(swept: Swept) -> None:
    card = (swept.out / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    fixed, varied = card.split("Benchmarked parameters:")

    assert front["pipeline_tag"] == "classification"
    assert "accuracy" in front["metrics"]
    assert "    * **method**: `percentile`" in fixed
    assert "* **per_channel**: `False`, `True`" in varied
    assert "input length = 8" in varied
    assert str(swept.out.parent) not in card  # nobody else has these folders
    assert "**Machine:**" in card


def test_a_finished_sweep_is_read_again(call: Call, swept: Swept) -> None:
    again = call("sweep", swept.out / "sweep.yaml", "--out", swept.out, "--resume", "--json")

    assert again.code == 0
    assert again.document == json.loads((swept.out / "sweep.json").read_text())
    assert not (swept.out / "cache").exists()


class KilledAt(Silent):
    """Ends the work at a step of a stage, and counts the steps of all."""

    def __init__(self, stage: str = "", step: int = 0) -> None:
        self.at, self.left = stage, step
        self.now = ""
        self.done: dict[str, int] = {}

    def stage(self, name: str, total: int | None = None) -> None:
        self.now = name
        self.done.setdefault(name, 0)

    def advance(self, n: int = 1) -> None:
        self.done[self.now] += n
        if self.now == self.at and self.done[self.now] == self.left:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_repeats_nothing(folder: Path, tmp_path: Path) -> None:
    run = run_of(folder, quantization_approach=["dynamic", "static"], **MATMUL)
    path, out = written(tmp_path / "s.yaml", run), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        gossamer.sweep(path, out, progress=KilledAt("make and score", 2))
    made = finished(out, "setting", "score")
    again = KilledAt("time", 2)
    with pytest.raises(KeyboardInterrupt):
        gossamer.sweep(path, out, resume=True, progress=again)
    timed = finished(out, "setting", "score", "time")
    assert not (out / "sweep.json").exists()

    last = KilledAt()
    found = gossamer.sweep(path, out, resume=True, progress=last)

    assert made.items() <= timed.items() <= finished(out, "setting", "score", "time").items()
    assert len(made) == 4  # two settings, two scores; the third is made by the second run
    assert again.done["make and score"] == 1
    assert last.done == {"open the model and the data": 0, "make and score": 0, "time": 1}
    assert [s.status for s in found.settings] == ["ok"] * 3


def test_a_sweep_survives_a_kill_that_it_cannot_see(folder: Path, tmp_path: Path) -> None:
    run = run_of(folder, quantization_approach="dynamic", batch_sizes=[2])
    path, out = written(tmp_path / "s.yaml", run), tmp_path / "out"
    command = [sys.executable, "-c", "from gossamer.cli.main import main; main()"]
    child = subprocess.Popen(
        [*command, "sweep", path, "--out", out], stderr=subprocess.DEVNULL, process_group=0
    )
    try:
        end = time.monotonic() + 60
        while not finished(out, "score") and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    before = finished(out, "setting", "score")
    assert before

    found = gossamer.sweep(path, out, resume=True)

    assert before.items() <= finished(out, "setting", "score").items()
    assert [t.batch for s in found.settings for t in s.timings] == [2, 2]


def test_an_output_folder_is_not_overwritten_by_accident(
    call: Call, swept: Swept, folder: Path, tmp_path: Path
) -> None:
    before = {p: p.read_bytes() for p in swept.out.iterdir()}
    other = written(tmp_path / "other.yaml", run_of(folder, input_lengths=[3]))

    taken = call("sweep", other, "--out", swept.out)
    changed = call("sweep", other, "--out", swept.out, "--resume")

    assert (taken.code, changed.code) == (2, 2)
    assert "--overwrite" in taken.err
    assert "other values of runs" in " ".join(changed.err.split())
    assert {p: p.read_bytes() for p in swept.out.iterdir()} == before


def test_a_run_of_optimum_is_read_as_it_is(call: Call, folder: Path, tmp_path: Path) -> None:
    run = {
        "model_name_or_path": str(folder / "small.onnx"),
        "task": "classification",
        "task_args": {"is_regression": False},
        "quantization_approach": "static",
        "dataset": {
            "path": str(folder / "texts"),
            "name": None,
            "eval_split": "dev",
            "calibration_split": None,
            "data_keys": {"primary": "x", "secondary": None},
            "ref_keys": ["labels"],
        },
        "metrics": ["accuracy"],
        "framework": "onnxruntime",
        "framework_args": {"opset": 13, "optimization_level": 0},
        "operators_to_quantize": ["Add", "MatMul"],
        "node_exclusion": [],
        "per_channel": False,
        "calibration": {
            "method": "minmax",
            "num_calibration_samples": 100,
            "calibration_histogram_percentile": None,
            "calibration_moving_average": True,
            "calibration_moving_average_constant": 0.05,
        },
        "aware_training": False,
        "max_eval_samples": 10,
        "time_benchmark_args": {"duration": 0.01, "warmup_runs": 10},
        "batch_sizes": [3],
        "input_lengths": [5],
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))

    done = call("sweep", path, "--out", tmp_path / "out", "--json")

    baseline, static = done.document["settings"]
    step = static["recipe"]["graph-steps"][-1]["quantize-static"]
    assert (done.code, baseline["is_baseline"], static["status"]) == (0, True, "ok")
    assert step["ranges"] == {"moving-average": {"c": 0.05}}
    assert step["overrides"][0]["granularity"] == "per-tensor"
    assert done.document["task"]["rows"] == 10
    assert "100 calibration samples: 24 were there" in static["remarks"]
    told = " ".join(done.document["remarks"])
    assert "warmed up" in told
    assert "finds these by itself" in told


@pytest.mark.openvino
def test_what_a_framework_lacks_is_told_and_the_rest_is_measured(
    folder: Path, tmp_path: Path
) -> None:
    run = run_of(
        folder, framework="openvino", quantization_approach=["static", "dynamic"], **MATMUL
    )

    found = gossamer.sweep(written(tmp_path / "s.yaml", run), tmp_path / "out")

    assert [s.status for s in found.settings] == ["ok", "ok", "failed"]
    assert [s.runtime for s in found.settings] == ["openvino", "openvino", ""]
    assert "dynamically quantized kernels" in found.settings[2].reason
    card = (found.out / "README.md").read_text()
    assert "# Not measured" in card
    assert "| dynamic | – | – | – |" in card
