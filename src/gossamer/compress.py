"""The main job: the fastest model that could be measured within an accuracy budget."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import plugins, store
from gossamer.errors import OutputError
from gossamer.progress import Silent
from gossamer.report import document, publish

if TYPE_CHECKING:
    from gossamer.progress import Progress
    from gossamer.result import Result
    from gossamer.search.prepare import Prepared, Request


def compress(  # noqa: PLR0913 - the options of the command line, by the same names
    model: str | Path,
    *,
    task: str | None = None,
    data: str | Path | None = None,
    calibration_data: str | Path | None = None,
    max_drop: str | None = None,
    targets: Sequence[str] = (),
    cpu: str = "portable",
    budget: str = "10m",
    trials: int | None = None,
    batch: int = 1,
    length: int = 128,
    threads: int | None = None,
    out: str | Path = "gossamer-out",
    resume: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Result:
    """The verdict, the winner and everything that was measured on the way; files are in `out`.

    1. The float32 model is measured on every target.
    2. One calibration pass serves all static candidates.
    3. Candidates are built, timed against the float models and scored, cheapest first; if none
       is within the budget, the sites that do most damage stay in float.
    4. The fastest within the budget wins, if it is faster than noise explains; else float wins.
       The report split, which nothing saw before, is scored once for baseline and winner.

    Args:
        model: ONNX file, Hugging Face folder or hub id, or `package.module:factory`.
        task: Name of the task; by default the model's configuration decides, else `fidelity`.
        data: File or folder with samples; without it inputs are synthesised for `fidelity`.
        calibration_data: Data used for calibration alone.
        max_drop: `1%` of the float score, `0.5pt` or `0.3abs`.
        targets: Names of targets; by default every one whose runtime is installed.
        cpu: Weakest CPU level on which the result must be right.
        budget: Time, `90s`, `10m` or `2h`.
        trials: Most candidates to try.
        batch: Batch size of the latency.
        length: Sequence length of the latency.
        threads: Threads; by default the physical cores.
        out: Output folder.
        resume: Go on where a killed run stopped; a finished one is read back.
        overwrite: Replace what an earlier run left in `out`.
        seed: Draws the splits.
        options: Options of the task.
        progress: Is told how far the work is.
        command: The command line, for the report.

    Raises:
        InputError: Something given cannot be used; nothing was written.
        GossamerError: Work failed; what exists is kept and `resume` goes on.
    """
    from gossamer.search.prepare import Request, prepare
    from gossamer.search.search import search

    started = time.monotonic()
    request = Request(
        model=str(model),
        task=task,
        options=dict(options or {}),
        data=None if data is None else Path(data),
        calibration_data=None if calibration_data is None else Path(calibration_data),
        max_drop=max_drop,
        targets=tuple(targets),
        cpu=cpu,
        budget=budget,
        trials=trials,
        batch=batch,
        length=length,
        threads=threads,
        seed=seed,
    )
    folder = Path(out)
    finished = _claim(folder, request, resume=resume, overwrite=overwrite)
    if finished is not None:
        return finished
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        cache = folder / "cache" if folder.exists() and resume else Path(scratch)
        prepared = prepare(request, cache, folder, progress or Silent())
        if cache != folder / "cache":
            prepared = _move_in(prepared, Path(scratch), overwrite=overwrite)
        study = store.Study(folder / "study.db")
        study.put("request", request.identity())
        found = dataclasses.replace(search(prepared, study, started), command=command)
        publish.publish(found, prepared.model, record(prepared, found))
    return found


def _claim(out: Path, request: Request, *, resume: bool, overwrite: bool) -> Result | None:
    """Check the output folder; the result if it holds a finished one that is to be resumed."""
    if resume and overwrite:
        raise OutputError("--resume or --overwrite", "both", "Choose one.")
    store.check_writable(out)
    if not out.exists() or not any(out.iterdir()) or overwrite:
        return None
    if not resume:
        raise OutputError(
            f"an output folder that is empty or absent at {out}",
            "a folder with files",
            "Use --resume to go on with it, --overwrite to replace it, or another --out.",
        )
    if not (out / "study.db").exists():
        raise OutputError(
            f"a folder that compress wrote at {out}",
            "a folder without study.db",
            "Name the folder of the run that is to be resumed.",
        )
    earlier = store.Study(out / "study.db").get("request")
    if earlier is not None and earlier != request.identity():
        changed = [k for k, v in request.identity().items() if earlier.get(k) != v]
        raise OutputError(
            "the same request that the folder was made for",
            f"other values of {', '.join(changed)}",
            "Resume with the same options, or use another --out.",
        )
    store.sweep(out)
    store.sweep(out / "candidates")
    if (out / "result.json").exists():
        return document.read(out / "result.json", out)
    return None


def _move_in(prepared: Prepared, scratch: Path, *, overwrite: bool) -> Prepared:
    """Make the output folder and move the opened model into its cache."""
    out = prepared.out
    with store.told_apart(out):
        out.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for name in publish.OURS:
                store.remove(out / name)
        cache = out / "cache"
        shutil.copytree(scratch, cache, dirs_exist_ok=True)
    model = prepared.model
    if model.path.is_relative_to(scratch):
        model = dataclasses.replace(model, path=cache / model.path.relative_to(scratch))
    return dataclasses.replace(prepared, model=model)


def record(prepared: Prepared, result: Result) -> dict[str, Any]:
    """What `recipe.yaml` says: source, task, data with digests, calibration, recipe."""
    request = prepared.request
    found = Path(request.model)
    paths = {"data": request.data, "calibration-data": request.calibration_data}
    winner = result.winner
    return {
        "source": {
            "model": str(found.resolve()) if found.exists() else request.model,
            "digest": prepared.model.digest,
        },
        "task": plugins.dump(prepared.task),
        "data": {
            **{
                key: {"path": str(path.resolve()), "sha256": publish.digest(path)}
                for key, path in paths.items()
                if path is not None
            },
            "synthetic": prepared.data.synthetic,
            "seed": request.seed,
            "length": request.length,
        },
        "calibration": {
            "targets": list(prepared.targets),
            "cpu": request.cpu,
            "samples": len(prepared.data.calibration),
            "threads": prepared.threads,
        },
        "recipe": winner.recipe if winner is not None else {},
        "files": dict(winner.files) if winner is not None else {},
    }
