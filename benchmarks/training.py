"""What training makes of the real models: the recipes of benchmarks/recipes, stage by stage.

    python -m benchmarks.training resnet20_masks minilm_2to4 [--seeds 0 1 2] [--out DIR] [--table]

Each recipe is what a user gives to `gossamer run`, with {real} for the folder of real models. One
JSON line for each seed; it replaces the one of this name and seed in results/training.json. A
recipe that was killed goes on in its folder under --out.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import yaml
from benchmarks.kept import fill, keep

from gossamer import plugins
from gossamer.measure.environment import environment, physical_cores
from gossamer.recipe import Recipe
from gossamer.report.table import markdown_table
from gossamer.rerun import rerun
from gossamer.train.attachment import Technique
from gossamer.train.prune.patterns.block import Block
from gossamer.train.prune.patterns.n_of_m import NOfM
from gossamer.train.steps.fit import Fit
from gossamer.train.steps.shrink import BUDGETS, Shrink
from gossamer.train.techniques.distill import Distill
from gossamer.train.techniques.quantize_aware import QuantizeAware
from gossamer.train.techniques.sparsify import Sparsify
from gossamer.trained import STAGES

HERE = Path(__file__).resolve().parent
TAUGHT, ALONE = "_distilled", "_alone"  # how names of recipes end
RECIPES, RESULTS = HERE / "recipes", HERE / "results" / "training.json"
PAGE = HERE.parent / "docs" / "training.md"
REAL = HERE.parent.parent / "shared" / "real"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    parser.add_argument("recipes", nargs="*", choices=[*known, []], metavar="RECIPE")
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a row for each")
    parser.add_argument("--out", type=Path, default=HERE / "cache" / "training")
    parser.add_argument("--table", action="store_true", help="fill the table of docs/training.md")
    arguments = parser.parse_args()
    for name, seed in itertools.product(arguments.recipes, arguments.seeds):
        out = arguments.out / (f"{name}_{seed}" if seed else name)
        keep(RESULTS, measured(name, seed, arguments.real, out), ("row", "seed"))
    if arguments.table:
        rows = json.loads(RESULTS.read_text(encoding="utf-8"))
        for section, made in TABLES.items():
            fill(PAGE, made(rows), section)


def measured(name: str, seed: int, real: Path, out: Path) -> dict[str, Any]:
    """The row of one recipe, which is run from its beginning unless it was killed."""
    recipe = written(name, seed, real, out.with_suffix(".yaml"))
    if (out / STAGES).exists():
        shutil.rmtree(out)
    begin = time.perf_counter()
    rerun(recipe, out)
    seconds = time.perf_counter() - begin
    document = json.loads((out / STAGES).read_text(encoding="utf-8"))
    machine = environment(physical_cores())
    rows = [
        {
            **{key: row[key] for key in ("stage", "parameters", "size_bytes")},
            **{key: _rounded(row[key]) for key in ("score", "drop", "zeros", "speedup")},
            "interval": [_rounded(x) for x in row["interval"]],
            "speedup_interval": [_rounded(x) for x in row["speedup_interval"]],
            "median_ms": _rounded(row["latency_ms"]["median"]),
        }
        for row in document["stages"]
    ]
    return {
        "row": name,
        "seed": seed,
        "minutes": round(seconds / 60, 1),
        "metric": document["metric"],
        "n": document["n"],
        "noise_floor": _rounded(document["noise_floor"]),
        "stages": rows,
        "cpu": machine.cpu,
        "flags": machine.flags,
        "threads": machine.threads,
    }


def written(name: str, seed: int, real: Path, path: Path) -> Path:
    """The recipe, with its seed and the folder of real models in it, at `path`."""
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").replace("{real}", str(real))
    record = yaml.safe_load(text)
    record["recipe"]["seed"] = seed
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    return path


def table(rows: list[dict[str, Any]]) -> str:
    """A line for every stage of every recipe, of the first seed."""
    lines = [
        [
            row["row"] if not place else "",
            stage["stage"],
            f"{stage['score']:.4f}",
            f"{-100 * stage['drop']:+.2f}" if place else "",
            "" if stage["zeros"] is None else f"{stage['zeros']:.0%}",
            f"{stage['size_bytes'] / 1e6:.2f}",
            f"{stage['median_ms']:.2f}",
            f"{stage['speedup']:.2f}" if place else "",
            f"{row['minutes']:.1f}" if not place else "",
        ]
        for row in sorted(_first(rows), key=lambda row: row["row"])
        for place, stage in enumerate(row["stages"])
    ]
    headers = ["recipe", "stage", "score", "points", "zeros", "MB", "ms", "speed-up", "minutes"]
    return markdown_table(headers, lines, ("left", "left", *("right",) * 7))


def pruning(rows: list[dict[str, Any]]) -> str:
    """A line for each score of a pruned model, in the columns that Neural Compressor published."""
    known = {row["row"]: row for row in _first(rows)}
    lines = []
    for name, row in sorted(known.items()):
        record, recipe = _recipe(name)
        last = len(recipe.module_steps)
        told = _masked(recipe) or _slim(recipe, row["stages"][last]["parameters"], row)
        if not told:
            continue
        dense = next(
            (known[other]["stages"][last] for other in known if _controls(other, name)), None
        )
        dense = (dense or row["stages"][0])["score"]
        for stage, suffix in ((row["stages"][last], ""), (row["stages"][-1], ", int8")):
            scores = [f"{dense:.4f}", f"{stage['score']:.4f}", f"{stage['score'] / dense - 1:+.2%}"]
            *columns, how = told
            lines.append([name.split("_")[0], _data(record), *scores, *columns, how + suffix])
    headers = ["model", "task, data", "dense", "sparse", "relative", "sparsity", "pattern", "how"]
    return markdown_table(headers, lines, ("left", "left", *("right",) * 3, "left", "left", "left"))


def _controls(name: str, other: str) -> bool:
    """Whether a recipe begins with the training of another one with masks, without techniques."""
    (record, recipe), (of, masked) = _recipe(name), _recipe(other)
    plain = [
        dataclasses.replace(step, techniques=()) if isinstance(step, Fit) else step
        for step in masked.module_steps
    ]
    trained = list(recipe.module_steps[: len(plain)])
    return record["source"] == of["source"] and bool(_masked(masked)) and trained == plain


def _masked(recipe: Recipe) -> tuple[str, str, str] | None:
    """How much masks prune, by what pattern, and how; None if there are none."""
    techniques = _techniques(recipe)
    found = next((t for t in techniques if isinstance(t, Sparsify) and not t.lock), None)
    if found is None:
        return None
    (pattern,), (criterion,) = plugins.dump(found.pattern), plugins.dump(found.criterion)
    if isinstance(found.pattern, Block):
        pattern = f"{found.pattern.rows}x{found.pattern.columns}"
    if isinstance(found.pattern, NOfM):
        pattern = f"{found.pattern.zeros}:{found.pattern.of}"
    is_balanced = found.scope == "local" or isinstance(found.pattern, NOfM)
    how = [criterion, "balanced" if is_balanced else "unbalanced", *_also(techniques)]
    return f"{found.sparsity:.0%}", pattern, ", ".join(how)


def _slim(recipe: Recipe, left: int, row: dict[str, Any]) -> tuple[str, str, str] | None:
    """The same of a model that is smaller."""
    found = next((step for step in recipe.module_steps if isinstance(step, Shrink)), None)
    if found is None:
        return None
    parts = [part for part in ("layers", "ffn", "heads", "channels") if getattr(found, part)]
    if any(getattr(found, budget) is not None for budget in BUDGETS):
        parts.append("channels")
    (criterion,) = plugins.dump(found.criterion)
    gone = 1 - left / row["stages"][0]["parameters"]
    techniques = _techniques(recipe)
    how = [criterion] * (parts != ["layers"]) + _also(techniques)
    how += ["untrained"] * (not any(isinstance(step, Fit) for step in recipe.module_steps))
    return f"{gone:.0%}", f"{', '.join(parts)} removed", ", ".join(how)


def _techniques(recipe: Recipe) -> list[Technique]:
    fits = [step for step in recipe.module_steps if isinstance(step, Fit)]
    return [each for fit in fits for each in fit.techniques]


def _also(techniques: list[Technique]) -> list[str]:
    found = ["distilled"] * any(isinstance(each, Distill) for each in techniques)
    return found + ["quantization-aware"] * any(isinstance(t, QuantizeAware) for t in techniques)


def distillation(rows: list[dict[str, Any]]) -> str:
    """A line for each student that was trained alone and by a teacher, by the same seeds."""
    known: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        known.setdefault(row["row"], []).append(row)
    lines = []
    for name, taught in sorted(known.items()):
        alone = known.get(name.replace(TAUGHT, ALONE))
        if not name.endswith(TAUGHT) or alone is None:
            continue
        record, _ = _recipe(name)
        both = {row["seed"] for row in alone} & {row["seed"] for row in taught}
        if not both:
            continue
        before, after = _scores(alone, both), _scores(taught, both)
        gained = statistics.mean(after) - statistics.mean(before)
        student = name.removesuffix(TAUGHT)
        teacher = f"{taught[0]['stages'][0]['score']:.4f}"
        scores = [_spread(before), _spread(after), f"{gained:+.4f}"]
        lines.append([student, _data(record), teacher, *scores])
    headers = ["student", "task, data", "teacher", "alone", "with the teacher", "gained"]
    return markdown_table(headers, lines, ("left", "left", *("right",) * 4))


def _first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    least: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: -row["seed"]):
        least[row["row"]] = row
    return list(least.values())


def _scores(rows: list[dict[str, Any]], seeds: set[int]) -> list[float]:
    """Of the float module behind its training, for these seeds."""
    steps = len(_recipe(rows[0]["row"])[1].module_steps)
    return [row["stages"][steps]["score"] for row in rows if row["seed"] in seeds]


def _spread(scores: list[float]) -> str:
    """The mean, and from where to where the scores of several seeds go."""
    if len(scores) == 1:
        return f"{scores[0]:.4f}"
    mean = statistics.mean(scores)
    return f"{mean:.4f} ({min(scores):.4f} to {max(scores):.4f}, {len(scores)} seeds)"


def _recipe(name: str) -> tuple[dict[str, Any], Recipe]:
    record = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    return record, Recipe.parse(record["recipe"])


def _data(record: dict[str, Any]) -> str:
    (task,) = record["task"]
    place = Path(record["data"]["data"]["path"])
    name = place.stem.split("_")[0] if place.suffix else place.parent.name
    return f"{task}, {name}"


TABLES = {"stages": table, "pruning": pruning, "distillation": distillation}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    main()
