"""What one calibration pass costs beside plain inference, for every range rule.

    python -m benchmarks.calibration resnet50 mobilenetv2 minilm_l6 --samples 64 512 --threads 1

One JSON line for each model and number of samples: the pass with the median ratio of time, and the
ratios of all `--repeat` passes. The same goes into results/calibration.json, where it replaces what
was measured of this model before.
With `--peers` rows of up to 64 samples also have what ONNX Runtime's calibrators take, as ratios to
the same plain inference, or the reason why one ended without a result.
Models are those of `benchmarks.models`, or ONNX files. Inputs are made up: images of noise, token
ids of ragged lengths up to 128.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from benchmarks import kept, peers

from gossamer import plugins
from gossamer.graph.calibrate import collect
from gossamer.graph.passes.simplify import simplify
from gossamer.run import observed_by, plan
from gossamer.runtime import Feed
from gossamer.search.prepare import installed_targets
from gossamer.source import FloatModel, TensorType
from gossamer.sources import find
from gossamer.statistics import Statistics

RESULTS = Path(__file__).parent / "results" / "calibration.json"
SAME = ("model", "samples", "threads")
LENGTHS = (16, 129)
DISTINCT = 32  # feeds; more samples repeat them
PEER_SAMPLES = 64  # more would take them hours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peers", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            source = find(name if "." in name else f"benchmarks.models:{name}")
            model = source.open(Path(folder))
            for samples in arguments.samples:
                passes = [
                    measured(model, samples, arguments.threads) for _ in range(arguments.repeat)
                ]
                passes.sort(key=lambda row: float(row["time_ratio"]))
                row = {"model": Path(name).stem, **passes[len(passes) // 2]}
                row["time_ratios"] = [p["time_ratio"] for p in passes]
                if arguments.peers and samples <= PEER_SAMPLES:
                    row["peers"] = of_peers(model, row, Path(folder) / f"peers-{samples}")
                kept.keep(RESULTS, row, SAME)


def of_peers(model: FloatModel, row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Time and memory of ONNX Runtime's calibrators as ratios to the plain inference of `row`."""
    rows = folder / "rows"
    rows.mkdir(parents=True)
    for i in range(row["samples"]):
        np.savez(rows / f"{i:04}.npz", **feed(model, i % DISTINCT))
    found: dict[str, Any] = {}
    for name in peers.CALIBRATORS:
        out = folder / name
        request = peers.Request(model=model.path, rows=rows, out=out, threads=row["threads"])
        record = peers.call(name, request)
        if record["file"] is None:
            found[name] = record["reason"]
            continue
        told = json.loads((out / record["file"]).read_text(encoding="utf-8"))
        found[name] = {
            "time_ratio": round(told["seconds"] / row["plain_seconds"], 3),
            "rss_ratio": round(told["rss_bytes"] / row["plain_rss_bytes"], 3),
        }
    return found


def measured(model: FloatModel, samples: int, threads: int) -> dict[str, Any]:
    """One row."""
    graph = simplify(ir.load(model.path))
    targets = installed_targets((), "portable")
    wanted = observed_by(graph, [plan(model, name, "portable") for name in targets])
    some = [feed(model, i) for i in range(min(samples, DISTINCT))]

    def feeds() -> Iterator[Feed]:
        return (some[i % len(some)] for i in range(samples))

    found = collect(graph, wanted, feeds, samples=samples, threads=threads)
    rules = {name: rule_seconds(name, found) for name in plugins.names("ranges")}
    return {
        "samples": samples,
        "threads": threads,
        "values": len(wanted.values),
        "seconds": round(found.seconds, 3),
        "plain_seconds": round(found.plain_seconds, 3),
        "time_ratio": round(found.seconds / found.plain_seconds, 3),
        "time_ratio_with_rule": {
            name: round((found.seconds + seconds) / found.plain_seconds, 3)
            for name, seconds in rules.items()
        },
        "rss_bytes": found.peak_rss_bytes,
        "plain_rss_bytes": found.plain_rss_bytes,
        "rss_ratio": round(found.peak_rss_bytes / found.plain_rss_bytes, 3),
    }


def rule_seconds(name: str, found: Statistics) -> float:
    """Time to choose the range of every value."""
    rule = plugins.load("ranges", name)()
    begin = time.perf_counter()
    for tensor in found.tensors.values():
        rule.range(tensor, symmetric=False)
    return time.perf_counter() - begin


def feed(model: FloatModel, seed: int) -> Feed:
    """One made-up sample."""
    random = np.random.default_rng(seed)
    length = int(random.integers(*LENGTHS))
    return {tensor.name: made_up(tensor, length, random) for tensor in model.inputs}


def made_up(
    tensor: TensorType, length: int, random: np.random.Generator
) -> np.ndarray[Any, np.dtype[Any]]:
    shape = [
        d if isinstance(d, int) else 1 if axis == 0 else length
        for axis, d in enumerate(tensor.shape or ())
    ]
    if tensor.dtype == "float32":
        return random.standard_normal(shape).astype(np.float32)
    if "mask" in tensor.name:
        return np.ones(shape, tensor.dtype)
    return random.integers(0, 2 if "type" in tensor.name else 1000, shape).astype(tensor.dtype)


if __name__ == "__main__":
    main()
