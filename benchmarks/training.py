"""What training makes of the real models: the recipes of benchmarks/recipes, stage by stage.

    python -m benchmarks.training resnet20_masks minilm_2to4 [--out DIR] [--table]

Each recipe is what a user gives to `gossamer run`, with {real} for the folder of real models. One
JSON line for each; it replaces the one of this name in results/training.json. A recipe that was
killed goes on in its folder under --out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.kept import fill, keep

from gossamer.measure.environment import environment, physical_cores
from gossamer.report.table import markdown_table
from gossamer.rerun import rerun
from gossamer.stages import STAGES

HERE = Path(__file__).resolve().parent
RECIPES, RESULTS = HERE / "recipes", HERE / "results" / "training.json"
PAGE = HERE.parent / "docs" / "training.md"
REAL = HERE.parent.parent / "shared" / "real"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    parser.add_argument("recipes", nargs="*", choices=[*known, []], metavar="RECIPE")
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--out", type=Path, default=HERE / "cache" / "training")
    parser.add_argument("--table", action="store_true", help="fill the table of docs/training.md")
    arguments = parser.parse_args()
    for name in arguments.recipes:
        keep(RESULTS, measured(name, arguments.real, arguments.out / name), ("row",))
    if arguments.table:
        fill(PAGE, table(json.loads(RESULTS.read_text(encoding="utf-8"))))


def measured(name: str, real: Path, out: Path) -> dict[str, Any]:
    """The row of one recipe, which is run from its beginning unless it was killed."""
    recipe = written(name, real, out.with_suffix(".yaml"))
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
        "minutes": round(seconds / 60, 1),
        "metric": document["metric"],
        "n": document["n"],
        "noise_floor": _rounded(document["noise_floor"]),
        "stages": rows,
        "cpu": machine.cpu,
        "flags": machine.flags,
        "threads": machine.threads,
    }


def written(name: str, real: Path, path: Path) -> Path:
    """The recipe, with the folder of real models in it, at `path`."""
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{real}", str(real)), encoding="utf-8")
    return path


def table(rows: list[dict[str, Any]]) -> str:
    """A line for every stage of every row."""
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
        for row in sorted(rows, key=lambda row: row["row"])
        for place, stage in enumerate(row["stages"])
    ]
    headers = ["recipe", "stage", "score", "points", "zeros", "MB", "ms", "speed-up", "minutes"]
    return markdown_table(headers, lines, ("left", "left", *("right",) * 7))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


if __name__ == "__main__":
    main()
