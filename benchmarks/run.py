"""Measure the rows of cases.yaml and fill the table of the README.

    python benchmarks/run.py [--only NAME ...] [--again] [--fresh] [--real DIR] [-- MORE ...]

A row whose file lies in results/ is not measured again without --again (gossamer anew, peers' files
kept) or --fresh (everything anew). What follows `--` goes to every `gossamer compress`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"


def main() -> int:
    """Number of rows that failed."""
    asked = _arguments()
    if importlib.util.find_spec("nncf") is None:
        raise SystemExit("the peers need nncf: pip install -c constraints.txt nncf")
    os.chdir(ROOT)  # benchmarks.models is found from here, and commands read the same everywhere
    from cases import load_cases
    from table import write_table

    cases = load_cases()
    names = [case.name for case in cases]
    if wrong := set(asked.only) - set(names):
        raise SystemExit(f"no case {', '.join(wrong)}; there are {', '.join(names)}")
    failed = 0
    for case in cases:
        result = HERE / "results" / f"{case.name}.json"
        if (asked.only and case.name not in asked.only) or (
            result.exists() and not (asked.again or asked.fresh)
        ):
            continue
        if case.judge and not asked.real.is_dir():
            print(f"{case.name}: left out, no folder {asked.real}", file=sys.stderr)
            continue
        print(case.name, file=sys.stderr)
        failed += not _measured(case.name, result, asked)
        write_table(ROOT / "README.md")
    write_table(ROOT / "README.md")
    return failed


def _measured(name: str, result: Path, asked: argparse.Namespace) -> bool:
    import train_hard
    from cases import load_cases
    from rows import Place, measure

    case = next(c for c in load_cases() if c.name == name)
    cache = Path("benchmarks/cache") / name
    if asked.fresh:
        shutil.rmtree(cache, ignore_errors=True)
    try:
        if case.hard is not None:
            train_hard.made(case.hard, asked.real)
        row = measure(case, Place(real=asked.real, cache=cache, more=tuple(asked.more)))
    except Exception:  # the next row may be measured all the same
        traceback.print_exc()
        return False
    result.parent.mkdir(exist_ok=True)
    scratch = result.with_suffix(".tmp")
    scratch.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    scratch.replace(result)
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--again", action="store_true", help="measure rows that exist")
    parser.add_argument("--fresh", action="store_true", help="the same, and call the peers anew")
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    parser.add_argument("more", nargs="*", help="arguments for every compress, after --")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
