"""How far the same ratio, measured again, strays: gossamer bench and single runs of other tools.

    python -m benchmarks.repeats resnet20 minilm_sst2
    python -m benchmarks.repeats --table

Float32 and static int8 (min-max) of a model are measured again and again, each time in every way:

- `gossamer bench`: both in turns, the median of the rounds' ratios;
- `timeit`: each in a process of its own, one after the other; five loops, the mean of the best, as
  `python -m timeit` tells it;
- `perf test`: the same with one loop and its mean, as onnxruntime_perf_test tells it;
- `benchmark_app`: OpenVINO's own tool, for one model after the other, its median.

Every way gets the same seconds for each model and the same threads. Spread is (largest -
smallest) / median of the ratios. One JSON line for each model and runtime; it replaces the one
before in results/repeats.json. `--table` writes the table of docs/guides/measure-speed.md from it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import kept

from gossamer import plugins
from gossamer.bench import bench
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.measure.environment import environment, physical_cores, usable_cpus
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.run import calibrate, run
from gossamer.sources import find
from gossamer.step import Calibration
from gossamer.task import DataRequest, affordable, example
from gossamer.tasks import choose

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "repeats.json"
PAGE = HERE.parent / "docs" / "guides" / "measure-speed.md"
REAL = HERE.parent.parent / "shared" / "real"
MODELS = {"resnet20": "cifar10/resnet20.onnx", "minilm_sst2": "minilm_sst2"}
TARGETS = {"ort": "ort-cpu", "openvino": "openvino-cpu"}
SAME = ("model", "runtime")
OURS, APP = "gossamer bench", "benchmark_app"
LOOPS = {"timeit": 5, "perf test": 1}
WARM_UP = 3
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
TYPES = {"float32": "f32", "int64": "i64"}  # as benchmark_app calls them
# imported without its telemetry, which would go online
RUN_APP = (
    "import sys; sys.modules['openvino_telemetry'] = None; "
    "from openvino.tools.benchmark.main import main; main()"
)
Row = dict[str, Any]


def main() -> None:
    if sys.argv[1:2] == ["loop"]:
        print(loop(*sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--runtime", choices=TARGETS, action="append", help="default: each")
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each model, each time")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    for name in asked.models:
        for runtime in asked.runtime or TARGETS:
            with tempfile.TemporaryDirectory() as folder:
                row = measured(name, runtime, asked, Path(folder))
            kept.keep(RESULTS, row, SAME)
    if asked.table:
        kept.fill(PAGE, render(json.loads(RESULTS.read_text())))


def measured(name: str, runtime: str, asked: argparse.Namespace, folder: Path) -> Row:
    """One row: every ratio of every way."""
    files, feed = made(str(asked.real / MODELS[name]), TARGETS[runtime], folder)
    np.savez(folder / "feed.npz", **feed)
    ways = [OURS, *LOOPS, *([APP] if runtime == "openvino" else [])]
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(asked.repeats):
        for way in ways:  # all ways see the same hours of the machine
            ratios[way].append(one_ratio(way, files, runtime, folder / "feed.npz", asked))
    return {
        "model": name,
        "runtime": runtime,
        "seconds": asked.seconds,
        "ways": {
            way: {"spread": round(spread(found), 4), "ratios": [round(x, 4) for x in found]}
            for way, found in ratios.items()
        },
        "environment": environment(asked.threads).dump(),
    }


def made(source: str, target: str, folder: Path) -> tuple[list[Path], dict[str, np.ndarray]]:
    """The files of float32 and of static int8, and what to feed them."""
    model = find(source).open(folder / "float")
    split = affordable(choose("fidelity", model, {}).open(DataRequest(model=model)).calibration, 32)
    found = calibrate(
        model, {target: ()}, split,
        cpu="portable", threads=physical_cores(), seed=0, progress=Silent(),
    )  # fmt: skip
    known = Calibration(statistics=lambda _: found, feeds=split.feeds)
    int8 = Recipe(target=target, graph_steps=(Simplify(), Fuse(), QuantizeStatic()))
    path = run(model, int8, folder / "int8", known, Silent()).path
    return [model.path, path], example(model.inputs, next(iter(split.feeds())), 1, 128)


def one_ratio(
    way: str, files: list[Path], runtime: str, feed: Path, asked: argparse.Namespace
) -> float:
    """How many times as fast the second file is as the first, measured once."""
    if way == OURS:
        options: Row = {"threads": asked.threads, "seconds": asked.seconds}
        rows = bench(files, runtimes=[runtime], **options)["rows"]
        return float(rows[1]["ratio"])
    first, second = (one_time(way, path, runtime, feed, asked) for path in files)
    return first / second


def one_time(way: str, path: Path, runtime: str, feed: Path, asked: argparse.Namespace) -> float:
    """What a tool calls the time of one model."""
    threads, seconds = str(asked.threads), str(asked.seconds)
    if way != APP:
        command = [sys.executable, "-m", "benchmarks.repeats", "loop", way]
        done = told([*command, runtime, str(path), str(feed), threads, seconds])
        return float(done.split()[-1])
    with np.load(feed) as arrays:
        shapes = ",".join(f"{k}[{','.join(map(str, arrays[k].shape))}]" for k in arrays.files)
        # by itself it makes images of bytes out of float inputs
        types = ",".join(f"{k}:{TYPES[arrays[k].dtype.name]}" for k in arrays.files)
    command = [sys.executable, "-c", RUN_APP, "-m", str(path), "-d", "CPU", "-api", "sync"]
    whole = str(max(1, round(asked.seconds)))  # it takes whole seconds
    command += ["-hint", "none", "-nstreams", "1", "-nthreads", threads]
    done = told([*command, "-t", whole, "-shape", shapes, "-iop", types])
    found = re.search(r"Median:\s*([0-9.]+)\s*(us|ms|s)\b", done)
    if found is None:
        raise SystemExit(f"no median in what benchmark_app wrote:\n{done}")
    return float(found[1]) * UNITS[found[2]]


def told(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def loop(way: str, runtime: str, path: str, feed: str, threads: str, seconds: str) -> float:
    """Seconds per call of one model in this process, as its tool would tell them."""
    os.sched_setaffinity(0, usable_cpus()[: int(threads)])
    session = plugins.load("runtimes", runtime)().open(Path(path), threads=int(threads))
    with np.load(feed) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    for _ in range(WARM_UP):
        session.run(inputs)
    means = []
    for _ in range(LOOPS[way]):
        calls, begun = 0, time.perf_counter()
        while (taken := time.perf_counter() - begun) < float(seconds) / LOOPS[way]:
            session.run(inputs)
            calls += 1
        means.append(taken / max(calls, 1))
    return min(means)


def spread(ratios: list[float]) -> float:
    """How far the ratios lie apart, as a fraction of their median."""
    return (max(ratios) - min(ratios)) / statistics.median(ratios)


def render(rows: list[Row]) -> str:
    """A Markdown table: a line for each model and runtime."""
    ways = [OURS, *LOOPS, APP]
    lines = [
        f"| model | runtime | threads | times | {' | '.join(ways)} |",
        "|---|---|---:|---:|" + "---:|" * len(ways),
    ]
    for row in sorted(rows, key=lambda r: [r[key] for key in SAME]):
        count = len(row["ways"][OURS]["ratios"])
        first = [row["model"], row["runtime"], str(row["environment"]["threads"]), str(count)]
        cells = [_cell(row["ways"].get(way)) for way in ways]
        lines.append(f"| {' | '.join([*first, *cells])} |")
    away = max(_away(row["ways"][OURS]["ratios"]) for row in rows)
    told = f"No ratio of `{OURS}` was more than {100 * away:.1f} % away from the median of its row."
    return "\n".join([*lines, "", told, ""])


def _away(ratios: list[float]) -> float:
    """How far the farthest lies from the median, as a fraction of that."""
    middle = statistics.median(ratios)
    return max(abs(each - middle) for each in ratios) / middle


def _cell(way: Row | None) -> str:
    """Spread, and between what the ratios lay."""
    if way is None:
        return "–"
    found = way["ratios"]
    return f"{100 * way['spread']:.0f} %, {min(found):.2f} to {max(found):.2f}"


if __name__ == "__main__":
    main()
