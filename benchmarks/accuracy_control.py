"""What it takes to hold an accuracy budget where plain int8 does not: gossamer, NNCF, one by one.

    python -m benchmarks.accuracy_control hard_resnet20 [--max-drop 0.005] [--real ../shared/real]
    python -m benchmarks.accuracy_control --table

All work for OpenVINO, are given the same calibration rows and as many labelled rows to decide by,
and are judged on test rows that none of them saw:

- `compress`: gossamer as it comes;
- `drop-worst`: plain int8 (min-max, biases corrected, nothing smoothed), as NNCF starts from it,
  out of which gossamer takes the worst sites;
- `nncf`: quantize_with_accuracy_control, told which rows are wrong;
- `one by one`: the same plain int8; every site alone is put back to float and scored, then sites go
  back in the order of what that gained until the budget is kept.

`models` are quantized models that were made and run, `passes` the rows that they were run on by the
rows to decide by. One JSON line for each model; it replaces the one before in
results/accuracy_control.json. `--table` writes the table of docs/guides/search-a-recipe.md from it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks import algorithms, kept, train_hard
from benchmarks.peers import openvino_and_nncf

import gossamer
from gossamer import plugins
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.measure import Contender, measure_latency
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.result import Candidate, Result
from gossamer.run import calibrate, plan, run
from gossamer.search.drop_worst import RANKING_SAMPLES
from gossamer.source import FloatModel
from gossamer.sources import find
from gossamer.step import Calibration
from gossamer.task import Split

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "accuracy_control.json"
PAGE = HERE.parent / "docs" / "guides" / "search-a-recipe.md"
SAME = ("model", "max_drop")
TARGET, RUNTIME = "openvino-cpu", "openvino"
CALIBRATION, DECIDING = 128, 1500
SECONDS = 3.0  # that each file is timed
PLAIN: dict[str, Any] = {"ranges": "min-max", "smoothing": "none"}
STEPS: list[Any] = ["simplify", "fuse", {"quantize-static": PLAIN}]
Row = dict[str, Any]
Rows = list[tuple[np.ndarray, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What every way is given.

    Attributes:
        model: Opened.
        calibration: Rows to calibrate with.
        deciding: Rows to decide by.
        test: Rows that nothing is decided by.
        max_drop: The budget, in units of accuracy.
        folder: For files.
    """

    model: FloatModel
    calibration: Rows
    deciding: Rows
    test: Rows
    max_drop: float
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Where a way ended; `models` and `passes` as in the head of this file."""

    path: Path
    models: int
    passes: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="hard_depthwise, hard_resnet20")
    parser.add_argument("--max-drop", type=float, default=0.005)
    parser.add_argument("--real", type=Path, default=train_hard.REAL)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    for name in asked.models:
        with tempfile.TemporaryDirectory() as folder:
            case = opened(name, asked.real, asked.max_drop, Path(folder))
            row = {"model": name, "max_drop": asked.max_drop, **measured(case)}
        kept.keep(RESULTS, row, SAME)
    if asked.table:
        kept.fill(PAGE, render(json.loads(RESULTS.read_text())), "accuracy-control")


def opened(name: str, real: Path, max_drop: float, folder: Path) -> Case:
    """The model and three sets of rows, no row in two of them."""
    source, pair = algorithms.MODELS[name]
    hard = source.removeprefix("hard:")
    path = train_hard.made(hard, real) if hard != source else real / source
    _, data, _ = kept.scorer(real).PAIRS[pair]
    rows = list(data("calibration"))
    order = np.random.default_rng(0).permutation(len(rows))
    chosen = [rows[i] for i in order[: CALIBRATION + DECIDING]]
    return Case(
        model=find(str(path)).open(folder / "opened"),
        calibration=chosen[:CALIBRATION],
        deciding=chosen[CALIBRATION:],
        test=list(data("test")),
        max_drop=max_drop,
        folder=folder,
    )


def measured(case: Case) -> Row:
    """Evaluations, and what became of the file, for every way."""
    found = {name: way(case) for name, way in WAYS.items()}
    files = {"float32": case.model.path, **{name: f.path for name, f in found.items()}}
    compared = measure_latency(
        [Contender(name=name, runtime=RUNTIME, path=path) for name, path in files.items()],
        {case.model.inputs[0].name: case.test[0][0]},
        threads=physical_cores(),
        seconds=SECONDS,
    )
    told: Row = {}
    reference = {rows: np.mean(right(case.model.path, getattr(case, rows))) for rows in SCORED}
    for name, path in files.items():
        ratio = compared.ratios[name]
        told[name] = {
            "speedup": round(ratio.value, 4),
            "speedup_interval": [round(ratio.low, 4), round(ratio.high, 4)],
        }
        for rows in SCORED:
            drop = reference[rows] - np.mean(right(path, getattr(case, rows)))
            told[name][f"{rows}_drop"] = round(float(drop), 5)
        if name in found:
            told[name]["models"] = found[name].models
            told[name]["passes"] = round(found[name].passes, 2)
            told[name]["seconds"] = round(found[name].seconds, 1)
    return {
        "rows": len(case.deciding),
        "ways": told,
        "noise_floor": round(compared.noise_floor, 4),
        "environment": environment().dump(),
    }


SCORED = ("deciding", "test")


class Ranked(Silent):
    """Counts sites that are run alone."""

    def __init__(self) -> None:
        self.count = 0
        self._is_ranking = False

    def stage(self, name: str, total: int | None = None) -> None:  # noqa: ARG002
        self._is_ranking = name == "rank sites"

    def advance(self, n: int = 1) -> None:
        self.count += n if self._is_ranking else 0


def by_compress(case: Case) -> Found:
    """What compress finds as it comes."""
    data, calibration = written(case)
    return searched(
        case,
        lambda out, progress: gossamer.compress(
            str(case.model.path),
            task="classification",
            data=data,
            calibration_data=calibration,
            max_drop=f"{case.max_drop}abs",
            targets=[TARGET],
            out=out,
            progress=progress,
        ),
    )


def by_drop_worst(case: Case) -> Found:
    """The worst sites of plain int8 taken out."""
    data, calibration = written(case)
    search = case.folder / "search.yaml"
    asked = {
        "source": str(case.model.path),
        "task": "classification",
        "data": str(data),
        "calibration-data": str(calibration),
        "max-drop": f"{case.max_drop}abs",
        "strategy": "drop-worst",
        "recipe": {"target": TARGET, "graph-steps": STEPS},
    }
    search.write_text(yaml.safe_dump(asked), encoding="utf-8")
    return searched(case, lambda out, progress: gossamer.tune(search, out=out, progress=progress))


def searched(case: Case, search: Callable[[Path, Ranked], Result]) -> Found:
    """What a search of gossamer took."""
    progress, begin = Ranked(), time.perf_counter()
    result = search(Path(tempfile.mkdtemp(dir=case.folder)) / "out", progress)
    seconds = time.perf_counter() - begin
    tried = [c for c in result.candidates if c.status == "ok" and is_quantized(c)]
    if result.winner is None:
        raise SystemExit(f"nothing is within the budget: {result.reason}")
    (path,) = (result.out / "model").glob("*.xml")  # as OpenVINO opens it
    return Found(
        path=path,
        models=len(tried) + progress.count,
        passes=len(tried) + progress.count * RANKING_SAMPLES / len(case.deciding),
        seconds=seconds,
    )


def is_quantized(candidate: Candidate) -> bool:
    """Whether it is not one of the float models, fused or not."""
    return any(name.startswith("quantize") for s in candidate.recipe["graph-steps"] for name in s)


def written(case: Case) -> tuple[Path, Path]:
    """The rows as files: a folder to decide and to report by, and a file to calibrate with."""
    folder, calibration = case.folder / "data", case.folder / "calibration.npz"
    folder.mkdir(exist_ok=True)
    for path, rows in (
        (folder / "train.npz", case.deciding),
        (folder / "test.npz", case.test),
        (calibration, case.calibration),
    ):
        images = np.concatenate([x for x, _ in rows])
        labels = np.array([y for _, y in rows])
        np.savez(path, **{case.model.inputs[0].name: images, "labels": labels})
    return folder, calibration


def by_nncf(case: Case) -> Found:
    """quantize_with_accuracy_control, which may rank by what is right in each row."""
    openvino, nncf = openvino_and_nncf()
    counts: list[int] = []  # rows of every model it runs; the first one is the float model

    def score(compiled: Any, rows: Iterable[Any]) -> tuple[float, list[float]]:
        hits = hits_of(compiled, rows)
        counts.append(len(hits))
        return float(np.mean(hits)), hits

    begin = time.perf_counter()
    quantized = nncf.quantize_with_accuracy_control(
        openvino.Core().read_model(str(case.model.path)),
        calibration_dataset=nncf.Dataset(case.calibration, lambda row: row[0]),
        validation_dataset=nncf.Dataset(case.deciding, lambda row: row[0]),
        validation_fn=score,
        max_drop=case.max_drop,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=len(case.calibration),
    )
    seconds = time.perf_counter() - begin
    path = case.folder / "nncf.xml"
    openvino.save_model(quantized, str(path), compress_to_fp16=False)
    return Found(
        path=path,
        models=len(counts) - 1,
        passes=sum(counts[1:]) / len(case.deciding),
        seconds=seconds,
    )


def one_by_one(case: Case) -> Found:
    """Every site alone back to float, then more and more of those that gained most."""
    begin = time.perf_counter()
    name = case.model.inputs[0].name
    rows = algorithms.Rows(feeds=tuple({name: x} for x, _ in case.calibration))
    split = Split(samples=rows, indices=tuple(range(len(rows))))
    statistics = calibrate(
        case.model, {TARGET: ()}, split,
        cpu="portable", threads=physical_cores(), seed=0, progress=Silent(),
    )  # fmt: skip
    known = Calibration(statistics=lambda _: statistics, feeds=split.feeds)
    made: list[Path] = []

    def score(sites: list[str]) -> float:
        step = plugins.parse("steps", {"quantize-static": PLAIN | {"exclude": sites}})
        assert isinstance(step, QuantizeStatic)
        recipe = Recipe(target=TARGET, graph_steps=(Simplify(), Fuse(), step))
        folder = case.folder / f"one-by-one-{len(made)}"
        made.append(run(case.model, recipe, folder, known, Silent()).path)
        return float(np.mean(right(made[-1], case.deciding)))

    least = float(np.mean(right(case.model.path, case.deciding))) - case.max_drop
    if score([]) < least:
        decided = plan(case.model, TARGET, "portable", ()).quantized
        sites = [d.site for d in decided if d.weight is not None]
        gained = sorted(sites, key=lambda site: -score([site]))
        back = 1
        while score(gained[:back]) < least:
            back += 1
    seconds = time.perf_counter() - begin
    return Found(path=made[-1], models=len(made), passes=float(len(made)), seconds=seconds)


WAYS: dict[str, Callable[[Case], Found]] = {
    "compress": by_compress,
    "drop-worst": by_drop_worst,
    "nncf": by_nncf,
    "one by one": one_by_one,
}


def right(path: Path, rows: Rows) -> list[float]:
    """1 for each row that OpenVINO's class is right of, else 0."""
    openvino, _ = openvino_and_nncf()
    return hits_of(openvino.Core().compile_model(str(path), "CPU"), rows)


def hits_of(compiled: Any, rows: Iterable[Any]) -> list[float]:
    """The same of a compiled model."""
    return [float(compiled(x)[0].ravel().argmax() == y) for x, y in rows]


def render(rows: list[Row]) -> str:
    """A Markdown table: a line for each model and way."""
    lines = [
        "| model | budget | way | models | passes | seconds | drop | test drop | speed-up |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        for name, told in row["ways"].items():
            first = [row["model"], f"{100 * row['max_drop']:g} pt", name]
            spent = [f"{told[k]:g}" if k in told else "–" for k in ("models", "passes", "seconds")]
            drops = [f"{100 * told[f'{each}_drop']:.2f} pt" for each in SCORED]
            low, high = told["speedup_interval"]
            last = f"{told['speedup']:.2f} [{low:.2f}, {high:.2f}]"
            lines.append(f"| {' | '.join([*first, *spent, *drops, last])} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
