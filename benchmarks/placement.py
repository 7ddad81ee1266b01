"""What placing int8 gains over int8 everywhere: both, and placement by timed kernels, in one run.

    python -m benchmarks.placement vit_b16 convnext_tiny bert_base mobilenetv2

Static int8 (min-max, for every CPU) of each architecture on one target, made in these ways:

- `quantize_static` (on ONNX Runtime): what its own tool makes with min-max and scales per channel,
  which is int8 at every operator that the tool knows;
- `as exported`: int8 at every operator that has an int8 kernel, in the graph as it was exported;
- `everywhere`: the same in the graph with the target's fused operators;
- `rules`: where the target's own rules say that it pays;
- `measured`: where the kernels, timed on this machine, and the conversions between them take least.

All and float32 run in turns. Fidelity is 10 log10 of signal over noise against float32, over inputs
that no calibration saw. One JSON line for each model; it replaces the one before in
results/placement.json. `--table` writes the table of the guide from that file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import kept, peers

from gossamer import plugins
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.measure.environment import cpu_level, environment, physical_cores
from gossamer.measure.isolate import Isolated
from gossamer.measure.measure import Comparison, Contender, measure_latency, ratio
from gossamer.measure.noise import worst_noise
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.run import NO_DATA, run
from gossamer.search.kernels import Asked, Profile, measured, survey
from gossamer.source import FloatModel
from gossamer.sources import find
from gossamer.statistics import Statistics
from gossamer.step import Calibration, GraphStep
from gossamer.task import DataRequest, Split, TaskData, affordable, example
from gossamer.tasks import choose

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "placement.json"
PAGE = HERE.parent / "docs" / "guides" / "place-int8-where-it-pays.md"
SAME = ("model", "target", "level", "threads")
TOOL, TARGET = "quantize_static", "ort-cpu"  # whose runtime that tool belongs to
FLOAT, UNIFORM, MIXED = "float32", (TOOL, "as exported", "everywhere"), ("rules", "measured")
LENGTH, JUDGED = 128, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="an architecture, or a file")
    parser.add_argument("--target", default=TARGET)
    parser.add_argument("--samples", type=int, default=32, help="that calibrate")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each file, timed in turns")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    for name in asked.models:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(name, asked, Path(folder))
        kept.keep(RESULTS, row, SAME)
    if asked.table:
        kept.fill(PAGE, render(json.loads(RESULTS.read_text())))


def measure(name: str, asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One row."""
    source = name if name.endswith(".onnx") else f"benchmarks.models:{name}"
    model = find(source).open(folder / "float")
    data = choose("fidelity", model, {}).open(DataRequest(model=model, length=LENGTH))
    first = next(iter(data.calibration.feeds()))
    threads = asked.threads
    profile_asked = Asked(
        model=model,
        target=asked.target,
        feed=example(model.inputs, first, 1, LENGTH),
        cpu="portable",
        exclude=(),
        threads=threads,
        cache=folder / "costs",
    )
    profile = measured(survey(profile_asked, Silent()), Silent())
    calibration = affordable(data.calibration, asked.samples)
    files = made(model, profile, calibration, folder)
    reason = ""
    if asked.target == TARGET:
        file, reason = of_tool(model, calibration, folder)
        files |= {TOOL: file} if file else {}
    contenders = [
        Contender(name=n, runtime=plugins.load("targets", asked.target).runtime, path=path,
                  precision="f32" if n == FLOAT else "default")
        for n, path in files.items()
    ]  # fmt: skip
    timed = measure_latency(contenders, profile_asked.feed, threads=threads, seconds=asked.seconds)
    machine = environment(threads)
    return {
        "model": Path(name).stem,
        "target": asked.target,
        "cpu": machine.cpu,
        "flags": machine.flags,
        "level": cpu_level(),
        "threads": threads,
        "date": time.strftime("%Y-%m-%d"),
        "noise_floor": round(timed.noise_floor, 4),
        "profile_seconds": round(profile.seconds, 1),
        "kinds": len(set(profile.signatures.values())),
        "predicted_ms": {n: round(t / 1e6, 3) for n, t in profile.totals().items()},
        "in_float": len(profile.slow),
        "tool_failed": reason,
        "files": scored(contenders, timed, data, threads),
        "gains": gains(timed),
    }


def made(model: FloatModel, profile: Profile, split: Split, folder: Path) -> dict[str, Path]:
    """The files by their names."""
    known = _calibration(model, profile.asked.target, split)
    rules = QuantizeStatic()
    everywhere = dataclasses.replace(rules, placement="uniform")
    placed = dataclasses.replace(everywhere, slow=tuple(sorted(profile.slow)))
    steps: Mapping[str, tuple[GraphStep, ...]] = {
        FLOAT: (),
        "as exported": (Simplify(), everywhere),
        "everywhere": (Simplify(), Fuse(), everywhere),
        "rules": (Simplify(), Fuse(), rules),
        "measured": (Simplify(), Fuse(), placed),
    }
    return {
        name: run(
            model,
            Recipe(
                target=profile.asked.target,
                graph_steps=each,
                precision="default" if each else "f32",
            ),
            folder / name,
            known if each else NO_DATA,
            Silent(),
        ).path
        for name, each in steps.items()
    }


def of_tool(model: FloatModel, split: Split, folder: Path) -> tuple[Path | None, str]:
    """What ONNX Runtime's own tool makes of the model, or the reason why it makes nothing."""
    rows, out = folder / "rows", folder / TOOL
    rows.mkdir()
    for i, feed in enumerate(split.feeds()):
        named: dict[str, Any] = dict(feed)
        np.savez(rows / f"{i:04}.npz", **named)
    record = peers.call("ort-static", peers.Request(model=model.path, rows=rows, out=out))
    return (out / record["file"] if record["file"] else None), record["reason"]


def _calibration(model: FloatModel, target: str, split: Split) -> Calibration:
    """Statistics of what any of the placements stores, of the graph as exported too."""
    import onnx_ir as ir

    from gossamer.graph.calibrate import collect
    from gossamer.graph.passes.simplify import simplify
    from gossamer.graph.place import Wish, place
    from gossamer.run import observed_by, plan

    graph, spec = simplify(ir.load(model.path)), plugins.load("targets", target)
    plans = [
        place(graph, spec, Wish(is_uniform=True)),
        plan(model, target, "portable", is_uniform=True),
        plan(model, target, "portable"),
    ]
    found: Statistics = collect(
        graph,
        observed_by(graph, plans),
        split.feeds,
        samples=len(split),
        threads=physical_cores(),
        progress=Silent(),
    )
    return Calibration(statistics=lambda _: found, feeds=split.feeds)


def scored(
    contenders: list[Contender], timed: Comparison, data: TaskData, threads: int
) -> dict[str, Any]:
    """Milliseconds and fidelity of every file."""
    feeds = list(affordable(data.report, JUDGED).feeds())
    outputs = {}
    for c in contenders:
        with Isolated(c.runtime, c.path, threads=threads, precision=c.precision) as session:
            outputs[c.name] = [session.run(feed) for feed in feeds]
    found = {}
    for c in contenders:
        noise = worst_noise(outputs[FLOAT], outputs[c.name])
        latency = timed.latencies[c.name]
        found[c.name] = {
            "ms": round(latency.median * 1000, 3),
            "sqnr_db": round(-10 * math.log10(noise), 2) if noise else None,
            "blocks_ms": [round(float(sorted(b)[len(b) // 2]) * 1000, 3) for b in latency.blocks],
        }
    return found


def gains(timed: Comparison) -> dict[str, Any]:
    """How many times faster each mixed placement is than each uniform one."""
    found = {}
    for uniform in (name for name in UNIFORM if name in timed.latencies):
        for mixed in MIXED:
            pair = ratio(timed.latencies[uniform], timed.latencies[mixed])
            found[f"{mixed} over {uniform}"] = [
                round(x, 3) for x in (pair.value, pair.low, pair.high)
            ]
    return found


def render(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: a line for each model and place, milliseconds and fidelity."""
    names = (*UNIFORM, *MIXED)
    pairs = [f"rules over {uniform}" for uniform in UNIFORM] + ["measured over everywhere"]
    lines = [
        f"| model | CPU, threads | noise floor | {' | '.join([*names, *pairs])} |",
        "|---|---|---:|" + "---:|" * (len(names) + len(pairs)),
    ]
    for row in rows:
        files = [row["files"].get(name) for name in names]
        cells = [f"{f['ms']:.2f} ms, {_told(f['sqnr_db'])}" if f else "–" for f in files]
        gains = [row["gains"].get(pair) for pair in pairs]
        cells += ["{:.2f} [{:.2f}, {:.2f}]".format(*gain) if gain else "–" for gain in gains]
        first = [row["model"], f"{row['level']}, {row['threads']}", f"{row['noise_floor']:.2f}"]
        lines.append(f"| {' | '.join([*first, *cells])} |")
    return "\n".join([*lines, ""])


def _told(sqnr: float | None) -> str:
    return "equal to float32" if sqnr is None else f"{sqnr:.1f} dB"


if __name__ == "__main__":
    main()
