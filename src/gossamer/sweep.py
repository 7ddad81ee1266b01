"""Every setting of a grid, scored and timed: what each option costs and gains."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gossamer import store
from gossamer.errors import GossamerError, InputError
from gossamer.grid import folder
from gossamer.grid.opened import Opened, check, opened
from gossamer.grid.runs import Grid, grid, read
from gossamer.grid.times import TOGETHER
from gossamer.progress import Silent
from gossamer.report import publish, sweep_card, sweep_document, sweep_page

if TYPE_CHECKING:
    from gossamer.progress import Progress
    from gossamer.swept import Swept

SESSION_SECONDS = 2.0  # beside what is timed: a process starts and warms up
REST = 1.8  # times as long as what is timed: sessions come to rest after each turn
FILE_SECONDS = 15.0  # a rough guess of what making and scoring one takes


def sweep(
    path: str | Path,
    out: str | Path = "gossamer-out",
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> Swept:
    """Every setting of the grid in `path`, scored on all rows and timed against float.

    Settings that make the same file are measured once. A setting that cannot be had is there with
    its reason. Each score and each time is in `out` as soon as it exists, and no finished one is
    taken again by `resume`.

    Args:
        path: Runs as Optimum has them, in YAML or JSON, with lists of values where they vary.
        out: Where `sweep.json` and the card `README.md` go.
        resume: Go on with what a killed sweep left.
        overwrite: Replace what is in `out`.
        progress: Is told of every setting and timing.
        command: For the card.

    Raises:
        InputError: Something given cannot be used; nothing was written.
        GossamerError: Work failed; what exists is kept and `resume` goes on.
    """
    from gossamer.grid.work import measured

    started, out, watcher = time.monotonic(), Path(out), progress or Silent()
    runs = read(Path(path))
    asked = grid(runs)
    state = folder.claimed(out, resume=resume, overwrite=overwrite)
    if state == "finished":
        earlier = store.Study(out / folder.STUDY).get("request") or {}
        store.check_same(earlier, {"runs": _plain(runs)})
        return sweep_document.read(out / folder.DOCUMENT, out)
    watcher.stage("open the model and the data")
    found, study = _begun(runs, asked, out, is_new=state == "new")
    before = study.get("seconds") or {"seconds": 0.0}
    try:
        swept = measured(asked, found, out, study, watcher)
    except InputError as error:
        error.exit_code = GossamerError.exit_code  # work had begun, and what exists is kept
        raise
    finally:
        spent = before["seconds"] + time.monotonic() - started
        study.put("seconds", {"seconds": spent})
    swept = dataclasses.replace(swept, seconds=spent, command=command)
    store.write_text(out / "README.md", sweep_card.card(swept))
    store.write_text(out / "report.html", sweep_page.page(swept))
    store.write_text(out / folder.DOCUMENT, sweep_document.text(swept))
    store.remove(out / "cache")
    return swept


def _begun(
    runs: list[dict[str, Any]], asked: Grid, out: Path, *, is_new: bool
) -> tuple[Opened, store.Study]:
    """What the sweep is about, proven usable before anything is written, and its study."""
    from gossamer.sources import moved

    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        found = opened(asked, Path(scratch) if is_new else out / "cache", 0)
        check(found, asked.metrics)
        identity = {
            "runs": _plain(runs),
            "model": found.model.digest,
            "data": [store.digest(place) for place in found.files],
        }
        if is_new:
            publish.begin(out)
            kept = moved(found.model, Path(scratch), out / "cache")
            found = dataclasses.replace(found, model=kept)
        study = store.Study(out / folder.STUDY)
        store.check_same(study.get("request") or {}, identity)
    study.put("request", identity)
    text = yaml.safe_dump(runs if len(runs) > 1 else runs[0], sort_keys=False)
    store.write_text(out / "sweep.yaml", text)
    return found, study


def forecast(path: str | Path) -> tuple[Grid, float]:
    """What a sweep would do, and its seconds if every setting makes a file of its own.

    Raises:
        RecipeError: The file is none of runs.
    """
    asked = grid(read(Path(path)))
    count, places = len(asked.settings), len(asked.batches) * len(asked.lengths)
    timed = count + 2 * -(-count // TOGETHER)
    return asked, count * FILE_SECONDS + places * timed * (REST * asked.seconds + SESSION_SECONDS)


def _plain(runs: list[dict[str, Any]]) -> str:
    """A digest of the runs as they are compared when a sweep goes on."""
    return hashlib.sha256(json.dumps(runs, sort_keys=True, default=str).encode()).hexdigest()
