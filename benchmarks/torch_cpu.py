"""PyTorch as a third runtime: float32 and static int8 of three runtimes, timed together.

    python -m benchmarks.torch_cpu resnet20 resnet50 minilm_sst2
    python -m benchmarks.torch_cpu --table

Each model is made for each target as float32 (nothing done to it), as float32 with the fusions that
the target wants, and as static int8 (min-max) for the CPU level `portable`. All of them take turns
at batch 1, length 128, in blocks of calls: medians, ratios with intervals, and a noise floor. Real
models are judged by score.py of the folder of real models; resnet50 has random weights and no
score. One JSON line for each model; it replaces the one before in
results/torch_cpu.json. `--table` writes the table of docs/targets.md from that file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import kept
from benchmarks.judges import judge

from gossamer import plugins
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.measure import Contender, measure_latency
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.run import NO_DATA, calibrate, run
from gossamer.source import FloatModel
from gossamer.sources import find
from gossamer.step import Calibration
from gossamer.task import DataRequest, Split, example
from gossamer.tasks import choose

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results" / "torch_cpu.json", HERE.parent / "docs" / "targets.md"
REAL = HERE.parent.parent / "shared" / "real"
MODELS = {
    "resnet20": "cifar10/resnet20.onnx",
    "resnet50": "benchmarks.models:resnet50",
    "minilm_sst2": "minilm_sst2",
}
TARGETS = ("ort-cpu", "openvino-cpu", "torch-cpu")
BARE = Recipe(target=TARGETS[0], precision="f32")
RECIPES = {
    "float32": BARE,
    "fused": dataclasses.replace(BARE, graph_steps=(Simplify(), Fuse())),
    "int8": dataclasses.replace(BARE, graph_steps=(Simplify(), Fuse(), QuantizeStatic())),
}
ROWS = 256  # of which half calibrate
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each file, at least")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    for name in asked.models:
        with tempfile.TemporaryDirectory() as folder:
            row = measured(name, asked, Path(folder))
        kept.keep(RESULTS, row, ("model",))
    if asked.table:
        kept.fill(PAGE, render(json.loads(RESULTS.read_text())))


def measured(name: str, asked: argparse.Namespace, folder: Path) -> Row:
    """One row: milliseconds, speed against float32 on ONNX Runtime, size and score of each file."""
    source, real = MODELS[name], asked.real
    is_real = ":" not in source
    model = find(str(real / source) if is_real else source).open(folder / "float")
    split = samples(name, model, real, folder, is_real=is_real)
    files = made(model, split, folder)
    sample = next(iter(split.feeds()))
    feed = example(model.inputs, sample, 1, 128)
    contenders = [
        Contender(name=key, runtime=_runtime(key), path=path, precision="f32")
        for key, path in files.items()
    ]
    found = measure_latency(contenders, feed, threads=asked.threads, seconds=asked.seconds)
    entries = {}
    for key, path in files.items():
        compared, latency = found.ratios[key], found.latencies[key]
        entries[key] = {
            "ms": round(latency.median * 1000, 4),
            "times_ort_float32": round(compared.value, 3),
            "interval": [round(compared.low, 3), round(compared.high, 3)],
            "peak_rss_bytes": latency.peak_rss_bytes,
        }
        if is_real and not key.endswith("fused"):
            more = ["--pair", name, "--real", str(real)]
            entries[key]["score"] = judge(path, _runtime(key), more).get("score")
    machine = environment(asked.threads)
    return {
        "model": name,
        "entries": entries,
        "noise_floor": round(found.noise_floor, 3),
        "environment": machine.dump(),
    }


def samples(name: str, model: FloatModel, real: Path, folder: Path, *, is_real: bool) -> Split:
    """What is calibrated with: rows that score.py does not score, or noise."""
    rows = folder / "rows"
    if is_real:
        more = [] if MODELS[name].endswith(".onnx") else ["--model", str(model.path)]
        command = [sys.executable, str(real / "score.py"), name, "--calibration", str(rows)]
        subprocess.run([*command, "--limit", str(ROWS), *more], check=True, capture_output=True)
        known = {tensor.name for tensor in model.inputs}
        for file in rows.glob("*.npz"):
            with np.load(file) as archive:
                feed = {key: archive[key] for key in archive.files if key in known}
            np.savez(file, **feed)
    request = DataRequest(model=model, path=rows if is_real else None)
    return choose("fidelity", model, {}, has_data=is_real).open(request).calibration


def made(model: FloatModel, split: Split, folder: Path) -> dict[str, Path]:
    """The file of every recipe on every target, by both names."""
    statistics = calibrate(
        model, dict.fromkeys(TARGETS, ()), split,
        cpu="portable", threads=physical_cores(), seed=0, progress=Silent(),
    )  # fmt: skip
    known = Calibration(statistics=lambda _: statistics, feeds=split.feeds)
    files = {}
    for target in TARGETS:
        for name, recipe in RECIPES.items():
            own = dataclasses.replace(recipe, target=target)
            data = known if name == "int8" else NO_DATA
            files[f"{target} {name}"] = run(model, own, folder / target / name, data, Silent()).path
    return files


def _runtime(key: str) -> str:
    return str(plugins.load("targets", key.split(maxsplit=1)[0]).runtime)


def render(rows: list[Row]) -> str:
    """A Markdown table: a line for each model and target."""
    lines = [
        "| model | threads | noise floor | target | float32 | fused | int8 | score float32 "
        "| score int8 |",
        "|---|---:|---:|---|" + "---:|" * 5,
    ]
    for row in sorted(rows, key=lambda r: list(MODELS).index(r["model"])):
        threads, floor = row["environment"]["threads"], f"{row['noise_floor']:.2f}"
        for target in TARGETS:
            found = [row["entries"][f"{target} {name}"] for name in RECIPES]
            scores = [e.get("score") for e in (found[0], found[-1])]
            told = ["–" if s is None else f"{100 * s:.1f}" for s in scores]
            cells = [row["model"], str(threads), floor, f"`{target}`", *map(_cell, found), *told]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(entry: Row) -> str:
    """Milliseconds, how many times faster than float32 on ONNX Runtime, and between what."""
    low, high = entry["interval"]
    return f"{entry['ms']:.2f} ms, {entry['times_ort_float32']:.2f}× [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
