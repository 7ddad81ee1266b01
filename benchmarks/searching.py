"""What a search takes beside building, running and measuring models.

    python -m benchmarks.searching [resnet20] [--real DIR]
    python -m benchmarks.searching --table

Runs benchmarks/searches/NAME.yaml anew and adds up what is spent in the database of its trials: to
ask for a trial, to fill in what is open, to keep candidates and to tell costs. One JSON line; it
replaces the one of this name in results/searching.json. `--table` alone runs nothing and writes the
table of docs/guides/search-a-recipe.md from that file.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.kept import fill, keep

import gossamer
from gossamer.measure.environment import environment, physical_cores
from gossamer.search.shared import Shared

HERE = Path(__file__).resolve().parent
SEARCHES, RESULTS = HERE / "searches", HERE / "results" / "searching.json"
REAL = HERE.parent.parent / "shared" / "real"
PAGE = HERE.parent / "docs" / "guides" / "search-a-recipe.md"
METHODS = ("ask", "filled", "tell", "put", "get", "documents", "reclaim", "is_enough", "is_busy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = sorted(path.stem for path in SEARCHES.glob("*.yaml"))
    parser.add_argument("searches", nargs="*", choices=[*known, []], metavar="SEARCH")
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--out", type=Path, default=HERE / "cache" / "searching")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    names = [] if arguments.table and not arguments.searches else arguments.searches or known
    for name in names:
        keep(RESULTS, measured(name, arguments.real, arguments.out / name), ("row",))
    if arguments.table:
        fill(PAGE, render(json.loads(RESULTS.read_text())), "overhead")


def render(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: a line for each search."""
    lines = [
        "| search | trials | seconds | overhead | on the front | speed-up of the winner |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [row["row"], str(row["trials"]), f"{row['seconds']:.0f}"]
        cells += [f"{100 * row['share']:.1f} %", str(row["front"]), f"{row['speedup']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def measured(name: str, real: Path, out: Path) -> dict[str, Any]:
    """The row of one search."""
    text = (SEARCHES / f"{name}.yaml").read_text(encoding="utf-8")
    search = out.with_suffix(".yaml")
    search.parent.mkdir(parents=True, exist_ok=True)
    search.write_text(text.replace("{real}", str(real)), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    spent = [0.0]
    for method in METHODS:
        setattr(Shared, method, _timed(getattr(Shared, method), spent))
    begin = time.perf_counter()
    found = gossamer.tune(search, out=out, budget="30m")
    seconds = time.perf_counter() - begin
    tried = [c for c in found.candidates if not c.is_float]
    machine = environment(physical_cores())
    return {
        "row": name,
        "trials": len(tried),
        "seconds": round(seconds, 1),
        "database_seconds": round(spent[0], 2),
        "share": round(spent[0] / seconds, 4),
        "front": len(found.front),
        "speedup": round((found.winner and found.winner.speedup) or 0.0, 3),
        "cpu": machine.cpu,
        "flags": machine.flags,
        "threads": machine.threads,
    }


def _timed(method: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The method, which adds what it takes to `spent`; of calls inside of calls, the outer one."""

    @functools.wraps(method)
    def timed(*given: Any, **named: Any) -> Any:
        before, begin = spent[0], time.perf_counter()
        try:
            return method(*given, **named)
        finally:
            spent[0] = before + time.perf_counter() - begin

    return timed


if __name__ == "__main__":
    main()
