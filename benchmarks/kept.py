"""What the scripts keep and read: rows of results, tables in pages, the judge of the real models.

Scripts that run as `python -m benchmarks.NAME` import this as `benchmarks.kept`, those that run as
`python benchmarks/NAME.py` as `kept`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from gossamer import store

Row = dict[str, Any]


def keep(path: Path, row: Row, same: tuple[str, ...]) -> None:
    """Print one row, and put it last among the results, without those equal to it in all `same`."""
    print(json.dumps(row), flush=True)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [r for r in known if any(r[key] != row[key] for key in same)]
    lines = ",\n".join(json.dumps(r) for r in [*kept, row])
    store.write_bytes(path, f"[{lines}]\n".encode())


def marks(name: str = "") -> tuple[str, str]:
    """What stands in a page before and behind what is written by a script."""
    which = f"measured:{name}" if name else "measured"
    return f"<!-- {which}:begin -->", f"<!-- {which}:end -->"


def shown(page: Path, name: str = "") -> str:
    """What stands between the marks."""
    begin, end = marks(name)
    text = page.read_text(encoding="utf-8")
    return text.split(f"{begin}\n", 1)[1].split(end, 1)[0]


def fill(page: Path, table: str, name: str = "") -> None:
    """Replace what stands between the marks."""
    begin, end = marks(name)
    before, rest = page.read_text(encoding="utf-8").split(begin, 1)
    store.write_text(page, f"{before}{begin}\n{table}{end}{rest.split(end, 1)[1]}")


def scorer(real: Path) -> Any:
    """The module score.py of the folder of real models."""
    path = real / "score.py"
    spec = importlib.util.spec_from_file_location("score", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"no score.py in {real}: give its folder with --real")
    module = importlib.util.module_from_spec(spec)
    sys.modules["score"] = module
    spec.loader.exec_module(module)
    return module
