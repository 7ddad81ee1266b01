"""The same int8 file with and without VNNI: what a file for every CPU keeps, and others lose.

    python -m benchmarks.portability resnet20 resnet56 squeezenet minilm_sst2
    python -m benchmarks.portability resnet20 --emulate
    python -m benchmarks.portability resnet20 kwt1 yolox_nano --exact

Each real model is quantized (static int8, min-max) for every CPU (`portable`) and for CPUs that add
products in 32 bits (`vnni`), and judged on this CPU; with `--emulate` also on an emulated Haswell,
where the judge itself runs under qemu: children of an emulated process would not. With `--exact`
instead, both are computed in float32 from their stored numbers, where nothing overflows: what the
smaller weights cost on CPUs that would not need them, in dB of SQNR on samples that did not
calibrate; and how much larger their steps are, beside how large they would be if the bound came
from the extremes of each input channel in the calibration samples, with a margin. One JSON line for
each model and place; it replaces the one before in results/portability.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from benchmarks import kept

from gossamer import plugins
from gossamer.graph.bias import channel_axes
from gossamer.graph.layout import CHANNEL_AXES, by_output, divided
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.place import Wish, place
from gossamer.graph.smooth import factors
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_static import QuantizeStatic, parameters
from gossamer.graph.steps.simplify import Simplify
from gossamer.graph.weights import weight_numbers
from gossamer.measure.environment import cpu_level, environment, physical_cores
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.run import NO_DATA, calibrate, run
from gossamer.sources import find
from gossamer.step import Calibration, GraphContext, RangeRule
from gossamer.task import DataRequest
from gossamer.tasks import choose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.quant import QParams
    from gossamer.runtime import Feed
    from gossamer.source import FloatModel
    from gossamer.statistics import Statistics, TensorStatistics
    from gossamer.target import TargetSpec
    from gossamer.task import Split, TaskData

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "portability.json"
SAME = ("model", "place", "level")
REAL = HERE.parent.parent / "shared" / "real"
TARGETS = ("openvino-cpu", "ort-cpu")
LEVELS = ("portable", "vnni")
STEPS = (Simplify(), Fuse(), QuantizeStatic())
ROWS = 256  # of which half calibrate
EMULATED = ("qemu-x86_64", "-cpu", "Haswell")
MODELS = {
    "resnet20": "cifar10/resnet20.onnx",
    "resnet56": "cifar10/resnet56.onnx",
    "squeezenet": "imagenet_sample/squeezenet.onnx",
    "minilm_sst2": "minilm_sst2",
    "kwt1": "speech_commands/kwt1.onnx",
    "yolox_nano": "coco128/yolox_nano.onnx",
    "prisma": "coco128/prisma_person.onnx",
    "ultraface": "faces/ultraface_rfb320.onnx",
}
WIDTHS = tuple(1 + 0.01 * i for i in range(8))
MARGINS = (0.0, 0.5, 1.0)
EXACT_ROWS = 32  # beside those that calibrate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=MODELS)
    parser.add_argument("--emulate", action="store_true", help="judge under qemu too")
    parser.add_argument("--exact", action="store_true", help="compute both without overflow")
    parser.add_argument("--real", type=Path, default=REAL)
    arguments = parser.parse_args()
    if arguments.emulate and shutil.which(EMULATED[0]) is None:
        raise SystemExit(f"no {EMULATED[0]} here: Debian has it in qemu-user")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.exact:
                scores = exact(name, arguments.real, Path(folder))
                keep({"model": name, "place": "exact", "level": "any", "scores": scores})
                continue
            files = made(name, arguments.real, Path(folder))
            places: dict[str, tuple[str, ...]] = {"native": ()}
            places |= {"emulated Haswell": EMULATED} if arguments.emulate else {}
            for place, emulator in places.items():
                scores = {
                    key: judged(file, runtime, name, arguments.real, emulator)
                    for key, (runtime, file) in files.items()
                    if not emulator or runtime == "ort"
                }
                keep({"model": name, "place": place, "level": _level(place), "scores": scores})


def made(name: str, real: Path, folder: Path) -> dict[str, tuple[str, Path]]:
    """Runtime and file by target and CPU level, and the float files."""
    model, split, statistics = known(name, real, folder)
    data = Calibration(statistics=lambda _: statistics, feeds=split.calibration.feeds)
    files: dict[str, tuple[str, Path]] = {}
    for target in TARGETS:
        runtime = plugins.load("targets", target).runtime
        bare = Recipe(target=target, precision="f32")
        path = run(model, bare, folder / target / "float32", NO_DATA, Silent()).path
        files[f"{target} float32"] = (runtime, path)
        for level in LEVELS:
            recipe = Recipe(target=target, cpu=level, graph_steps=STEPS)
            path = run(model, recipe, folder / target / level, data, Silent()).path
            files[f"{target} {level}"] = (runtime, path)
    return files


@dataclass(frozen=True, kw_only=True, slots=True)
class Widened(RangeRule):
    """Extremes, a little wider: the same noise from other roundings."""

    by: float

    def range(self, statistics: TensorStatistics, *, symmetric: bool) -> tuple[float, float]:
        low, high = MinMax().range(statistics, symmetric=symmetric)
        return low * self.by, high * self.by


def exact(name: str, real: Path, folder: Path) -> dict[str, Any]:
    """SQNR in dB of the worst output by target and CPU level, products added in float32.

    Means over slightly different ranges, as one set of roundings is off by 2 dB from the next; of
    the difference also its standard error.
    """
    model, split, statistics = known(name, real, folder)
    data = Calibration(statistics=lambda _: statistics, feeds=split.calibration.feeds)
    feeds = [*itertools.islice(split.report.feeds(), EXACT_ROWS)]
    wanted = answers(model.path.read_bytes(), feeds)
    found: dict[str, Any] = {}
    for target in TARGETS:
        spec, noise = plugins.load("targets", target), dict.fromkeys(LEVELS, np.zeros(0))
        for by, level in itertools.product(WIDTHS, LEVELS):
            context = GraphContext(target=spec, cpu=level, calibration=data, record=lambda _: None)
            graph = ir.load(model.path)
            for step in (*STEPS[:2], QuantizeStatic(ranges=Widened(by=by))):
                graph = step.apply(graph, context)
            got = answers(ir.to_proto(graph).SerializeToString(), feeds)
            worst = min(sqnr(a, b) for a, b in zip(wanted, got, strict=True))
            noise[level] = np.append(noise[level], worst)
        lost = noise["vnni"] - noise["portable"]
        error = lost.std(ddof=1) / np.sqrt(len(lost))
        found |= {f"{target} {level}": round(float(noise[level].mean()), 2) for level in LEVELS}
        found[f"{target} lost"] = [round(float(lost.mean()), 2), round(float(error), 2)]
        found[f"{target} steps"] = steps(model, spec, split.calibration, statistics)
    return found


def steps(
    model: FloatModel, spec: TargetSpec, split: Split, statistics: Statistics
) -> dict[str, float]:
    """How many times as large steps of weights are as for sums of 32 bits, in the mean of sites.

    Now, and if pairs of stored numbers could only be what calibration saw of their channels, and a
    margin: of the largest, as a share of it.
    """
    context = GraphContext(target=spec, cpu="portable", calibration=NO_DATA, record=lambda _: None)
    graph = Fuse().apply(Simplify().apply(ir.load(model.path), context), context).graph
    plan = place(ir.Model(graph, ir_version=10), spec, Wish())
    smoothing = factors(graph, plan, statistics, MinMax())
    numbers = parameters(plan, statistics, MinMax(), smoothing)
    axes = channel_axes(graph, set(plan.weighted))
    low, high = extremes(ir.to_proto(ir.Model(graph, ir_version=10)), split, axes)
    nodes = {node.name: node for node in graph}
    growth: dict[str, list[float]] = {key: [] for key in ("now", *map(str, MARGINS))}
    for site in plan.quantized:
        if site.data not in axes or not site.inputs or site.op not in CHANNEL_AXES:
            continue
        node, factor = nodes[site.site], smoothing.get(site.inputs[0], np.float32(1))
        weight = node.inputs[1].const_value.numpy()
        if np.ndim(factor):
            weight = divided(node, weight, factor)
        whole = np.abs(by_output(node, weight)).max(axis=(2, 3)).ravel() / 127
        narrow = weight_numbers(weight, replace(plan.weight, accumulator="s16"), site.weight_axis)
        growth["now"].append(float((narrow.scale / np.maximum(whole, 1e-30)).mean()))
        for margin in MARGINS:
            ends = (x[site.data] * factor * (1 + margin) for x in (low, high))
            needed = needed_scale(by_output(node, weight), numbers[site.inputs[0]], *ends)
            some = np.maximum(whole, np.minimum(needed, narrow.scale)) / np.maximum(whole, 1e-30)
            growth[str(margin)].append(float(some.mean()))
    return {key: round(float(np.mean(each)), 3) for key, each in growth.items()}


def needed_scale(
    weight: NDArray[np.float32], x: QParams, low: NDArray[np.float32], high: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The smallest scale of each output with which no two neighbours exceed 16 bits."""
    shift = float(x.zero_point) + (128 if x.zero_point.dtype == np.int8 else 0)  # as kernels do
    stored = [np.clip(np.rint(end / x.scale) + shift, 0, 255) for end in (low, high)]
    rows = np.moveaxis(weight.astype(np.float64), 3, 2)  # groups, outputs, positions, inputs
    products = [rows * end.reshape(len(rows), 1, 1, -1) for end in stored]
    flat = [p.reshape(-1, rows.shape[2] * rows.shape[3]) for p in products]
    most, least = np.maximum(*flat), np.minimum(*flat)
    above = (most[:, 1:] + most[:, :-1]).max(axis=1, initial=0)
    below = (least[:, 1:] + least[:, :-1]).min(axis=1, initial=0)
    return np.asarray(np.maximum(above, -below) / (2**15 - 1 - 255))  # 255 for both roundings


def extremes(
    model: onnx.ModelProto, split: Split, axes: dict[str, int]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Lowest and highest of each channel of values over the calibration samples."""
    fed = {value.name for value in model.graph.input}
    known = {value.name for value in model.graph.output}
    asked = [name for name in axes if name not in fed]
    model.graph.output.extend(onnx.ValueInfoProto(name=v) for v in asked if v not in known)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    low: dict[str, NDArray[np.float32]] = {}
    high: dict[str, NDArray[np.float32]] = {}
    for feed in split.feeds():
        for name, x in {**feed, **dict(zip(asked, session.run(asked, feed), strict=True))}.items():
            if name in axes:
                rows = np.moveaxis(x, axes[name], -1).reshape(-1, x.shape[axes[name]])
                low[name] = np.minimum(rows.min(axis=0), low.get(name, np.float32(0)))
                high[name] = np.maximum(rows.max(axis=0), high.get(name, np.float32(0)))
    return low, high


def answers(model: bytes, feeds: list[Feed]) -> list[NDArray[np.float64]]:
    """Every float output over all samples, end to end; of each operator as it is written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    samples = [session.run(None, feed) for feed in feeds]
    outputs = zip(*samples, strict=True)
    return [np.concatenate([x.ravel() for x in each]).astype(np.float64) for each in outputs]


def sqnr(wanted: NDArray[np.float64], got: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


def known(name: str, real: Path, folder: Path) -> tuple[FloatModel, TaskData, Statistics]:
    """The opened model, its samples, and what one calibration pass knows."""
    model = find(str(real / MODELS[name])).open(folder / "float")
    rows = folder / "rows"
    command = [sys.executable, str(real / "score.py"), name, "--calibration", str(rows)]
    more = [] if MODELS[name].endswith(".onnx") else ["--model", str(model.path)]
    subprocess.run([*command, "--limit", str(ROWS), *more], check=True, capture_output=True)
    names = {tensor.name for tensor in model.inputs}
    _keep_inputs(rows, names)
    request = DataRequest(model=model, path=rows)
    data = choose("fidelity", model, {}).open(request)
    targets = dict.fromkeys(TARGETS, tuple[str, ...]())
    statistics = calibrate(
        model, targets, data.calibration,
        cpu="portable", threads=physical_cores(), seed=0, progress=Silent(),
    )  # fmt: skip
    return model, data, statistics


def judged(
    file: Path, runtime: str, name: str, real: Path, emulator: tuple[str, ...]
) -> float | str:
    """The score of a file, or why there is none; the judge runs behind `emulator`."""
    judge = [sys.executable, str(HERE / "judges.py"), str(file), runtime]
    command = [*emulator, *judge, "--pair", name, "--real", str(real)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else "no answer"
    return round(float(json.loads(done.stdout.splitlines()[-1])["score"]), 4)


def keep(row: dict[str, Any]) -> None:
    """Say where it was measured, and put it among the results."""
    machine = environment(physical_cores())
    kept.keep(RESULTS, row | {"cpu": machine.cpu, "flags": machine.flags}, SAME)


def _level(place: str) -> str:
    return cpu_level() if place == "native" else "avx2"


def _keep_inputs(rows: Path, names: set[str]) -> None:
    """Rows of the inputs alone, in files of their own."""
    for file in rows.glob("*.npz"):
        with np.load(file) as archive:
            feed = {key: archive[key] for key in archive.files if key in names}
        np.savez(file, **feed)


if __name__ == "__main__":
    main()
