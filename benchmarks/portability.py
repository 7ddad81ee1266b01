"""The same int8 file with and without VNNI: what a file for every CPU keeps, and others lose.

    python -m benchmarks.portability resnet20 resnet56 squeezenet minilm_sst2
    python -m benchmarks.portability resnet20 --emulate

Each real model is quantized (static int8, min-max) for every CPU (`portable`) and for CPUs that add
products in 32 bits (`vnni`), and judged on this CPU; with `--emulate` also on an emulated Haswell,
where the judge itself runs under qemu: children of an emulated process would not. One JSON line for
each model and place; it replaces the one before in results/portability.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gossamer import plugins, store
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.measure.environment import cpu_level, environment, physical_cores
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.run import NO_DATA, calibrate, run
from gossamer.search.prepare import installed_targets
from gossamer.sources import find
from gossamer.step import Calibration
from gossamer.task import DataRequest
from gossamer.tasks import choose

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "portability.json"
REAL = HERE.parent.parent / "shared" / "real"
LEVELS = ("portable", "vnni")
ROWS = 256  # of which half calibrate
EMULATED = ("qemu-x86_64", "-cpu", "Haswell")
MODELS = {
    "resnet20": "cifar10/resnet20.onnx",
    "resnet56": "cifar10/resnet56.onnx",
    "squeezenet": "imagenet_sample/squeezenet.onnx",
    "minilm_sst2": "minilm_sst2",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=MODELS)
    parser.add_argument("--emulate", action="store_true", help="judge under qemu too")
    parser.add_argument("--real", type=Path, default=REAL)
    arguments = parser.parse_args()
    if arguments.emulate and shutil.which(EMULATED[0]) is None:
        raise SystemExit(f"no {EMULATED[0]} here: Debian has it in qemu-user")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
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
    model = find(str(real / MODELS[name])).open(folder / "float")
    rows = folder / "rows"
    command = [sys.executable, str(real / "score.py"), name, "--calibration", str(rows)]
    more = [] if MODELS[name].endswith(".onnx") else ["--model", str(model.path)]
    subprocess.run([*command, "--limit", str(ROWS), *more], check=True, capture_output=True)
    names = {tensor.name for tensor in model.inputs}
    _keep_inputs(rows, names)
    request = DataRequest(model=model, path=rows)
    split = choose("fidelity", model, {}).open(request).calibration
    targets = installed_targets((), "portable")
    statistics = calibrate(
        model, dict.fromkeys(targets, ()), split,
        cpu="portable", threads=physical_cores(), seed=0, progress=Silent(),
    )  # fmt: skip
    known = Calibration(statistics=lambda _: statistics, feeds=split.feeds)
    files: dict[str, tuple[str, Path]] = {}
    for target in targets:
        runtime = plugins.load("targets", target).runtime
        bare = Recipe(target=target, precision="f32")
        path = run(model, bare, folder / target / "float32", NO_DATA, Silent()).path
        files[f"{target} float32"] = (runtime, path)
        for level in LEVELS:
            steps = (Simplify(), Fuse(), QuantizeStatic())
            recipe = Recipe(target=target, cpu=level, graph_steps=steps)
            path = run(model, recipe, folder / target / level, known, Silent()).path
            files[f"{target} {level}"] = (runtime, path)
    return files


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
    """Print one row, and put it among the results."""
    machine = environment(physical_cores())
    row |= {"cpu": machine.cpu, "flags": machine.flags}
    print(json.dumps(row), flush=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    same = ("model", "place", "level")
    kept = [r for r in known if any(r[key] != row[key] for key in same)]
    lines = ",\n".join(json.dumps(r) for r in [*kept, row])
    store.write_bytes(RESULTS, f"[{lines}]\n".encode())


def _level(place: str) -> str:
    return cpu_level() if place == "native" else "avx2"


def _keep_inputs(rows: Path, names: set[str]) -> None:
    """Rows of the inputs alone, in files of their own."""
    import numpy as np

    for file in rows.glob("*.npz"):
        with np.load(file) as archive:
            feed = {key: archive[key] for key in archive.files if key in names}
        np.savez(file, **feed)


if __name__ == "__main__":
    main()
