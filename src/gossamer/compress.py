"""The main job: the fastest model that could be measured within an accuracy budget."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import plugins, store
from gossamer.errors import GossamerError, InputError, OutputError
from gossamer.progress import Silent
from gossamer.report import document, publish

if TYPE_CHECKING:
    from gossamer.progress import Progress
    from gossamer.result import Candidate, Result
    from gossamer.search.prepare import Prepared, Request
    from gossamer.search.shared import Shared
    from gossamer.task import TaskData

STUDY, TUNED = "study.db", "tuning.db"  # of compress; of tune, as Optuna's dashboard opens it


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
    exclude: Sequence[str] = (),
    costs: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Result:
    """The verdict, the winner and everything that was measured on the way; files are in `out`.

    Static candidates share one calibration pass. All are timed against float32 on every target and
    scored, cheapest first; if none is within the budget, the worst sites stay in float. The fastest
    within it wins if it beats the noise, else float. The report split is scored once, at the end.
    Options are those of the command line: see `gossamer.search.prepare.Request`. A folder `out`
    that exists takes `resume` or `overwrite`. Without `costs` int8 is not placed by timed kernels.

    Raises:
        InputError: Something given cannot be used; nothing was written.
        GossamerError: Work failed; what exists is kept and `resume` goes on.
    """
    from gossamer.search.prepare import Request

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
        exclude=tuple(exclude),
        costs=None if costs is None else Path(costs),
    )
    return work(request, Path(out), progress, command, resume=resume, overwrite=overwrite)


def work(
    request: Request,
    out: Path,
    progress: Progress | None,
    command: str,
    *,
    resume: bool,
    overwrite: bool,
) -> Result:
    """The outcome for a request, in `out`.

    Raises:
        InputError: Something given cannot be used; nothing was written.
        GossamerError: Work failed; what exists is kept and `resume` goes on.
    """
    if finished := _claim(out, request, resume=resume, overwrite=overwrite):
        return finished
    is_resumed = resume and (out / _study_name(request)).exists()
    return _work(request, out, progress or Silent(), command, is_resumed=is_resumed)


def _study_name(request: Request) -> str:
    return TUNED if request.plan else STUDY


def _study(request: Request, out: Path) -> store.Study | Shared:
    """Where the trials of a request are kept."""
    if not request.plan:
        return store.Study(out / STUDY)
    from gossamer.search.shared import Place, Shared
    from gossamer.search.wanted import Wanted

    own = (out / TUNED).absolute()
    asked = json.dumps(request.identity(), sort_keys=True).encode()
    name = f"gossamer {hashlib.sha256(asked).hexdigest()[:12]}" if request.storage else "gossamer"
    told = Wanted.parse(request.plan).told
    url = request.storage or f"sqlite:///{own}"
    study = Shared(Place(url=url, name=name, objectives=told, seed=request.seed))
    study.reclaim()
    return study


def _claim(out: Path, request: Request, *, resume: bool, overwrite: bool) -> Result | None:
    """Check the output folder; the result if it holds a finished one that is to be resumed."""
    if not store.claim(out, resume=resume, overwrite=overwrite):
        return None
    if not (out / _study_name(request)).exists():
        strange = sorted(p.name for p in out.iterdir() if not publish.is_ours(p.name))
        if not strange and not (out / "result.json").exists():
            return None  # killed before the study was there: everything begins again
        raise OutputError(
            f"a folder that this command wrote at {out}",
            f"a folder without {_study_name(request)} that holds {', '.join(strange[:3])}",
            "Name the folder of the run that is to be resumed.",
        )
    store.check_same(_study(request, out).get("request") or {}, request.identity())
    if (out / "result.json").exists():
        return document.read(out / "result.json", out)
    return None


def _work(
    request: Request, out: Path, progress: Progress, command: str, *, is_resumed: bool
) -> Result:
    """Everything from the opened model to the published folder."""
    from gossamer.search.prepare import check, prepare
    from gossamer.search.search import search
    from gossamer.sources import moved

    started = time.monotonic()
    with contextlib.ExitStack() as scope:
        scratch = Path(scope.enter_context(tempfile.TemporaryDirectory(prefix="gossamer-")))
        # nothing is written to `out` before everything that the user gave proved usable
        prepared = prepare(request, out / "cache" if is_resumed else scratch, out, progress)
        check(prepared)
        with store.alone(out.absolute().parent):
            if is_resumed:
                scope.enter_context(_joined(out))
            elif request.plan and (out / TUNED).exists():
                raise OutputError(
                    f"an output folder {out} that nobody else is beginning to work in",
                    "one in which another process just began",
                    "Join it with --resume.",
                )
            else:
                publish.begin(out)
                scope.enter_context(store.present(out))
                kept = moved(prepared.model, scratch, out / "cache")
                prepared = dataclasses.replace(prepared, model=kept)
            study = _study(request, out)
        identity = {**request.identity(), "digest": prepared.model.digest}
        _check_same(study, identity)
        study.put("request", identity)
        study.put("splits", _splits(prepared.data))

        def finish(make: Callable[[], Result]) -> Result:
            if (out / "result.json").exists():  # another process of the study was the last
                return document.read(out / "result.json", out)
            found = dataclasses.replace(make(), command=command)
            return publish.publish(found, prepared.model, record(prepared, found.winner))

        try:
            return search(prepared, study, started, finish)
        except InputError as error:
            error.exit_code = GossamerError.exit_code  # work had begun, and what exists is kept
            raise


@contextlib.contextmanager
def _joined(out: Path) -> Iterator[None]:
    """A folder in which a killed run left scratch, or in which other processes are at work."""
    with store.present(out) as is_alone:
        if is_alone:
            publish.sweep(out)
        yield


def _splits(data: TaskData) -> dict[str, list[int]]:
    """The rows of every split: their numbers in what the split was drawn from."""
    parts = {"calibration": data.calibration, "search": data.search, "report": data.report}
    return {name: [int(i) for i in split.indices] for name, split in parts.items()}


def _check_same(study: store.Study | Shared, identity: Mapping[str, Any]) -> None:
    """Raise if the model is another one than the study was made for."""
    earlier = (study.get("request") or {}).get("digest", identity["digest"])
    if earlier != identity["digest"]:
        raise OutputError(
            f"the model that the folder was made for, digest {earlier[:16]}",
            f"one with digest {identity['digest'][:16]}",
            "The file has changed: use --overwrite, or another --out.",
        )


def record(prepared: Prepared, winner: Candidate | None) -> dict[str, Any]:
    """What `recipe.yaml` says: source, task, data with digests, calibration, recipe."""
    from gossamer.trained import origin

    request = prepared.request
    found = Path(request.model)
    paths = {"data": request.data, "calibration-data": request.calibration_data}
    trains = winner is not None and "module-steps" in winner.recipe
    before = {} if trains else origin(found, request.seed)
    steps = {"module-steps": before["recipe"]["module-steps"]} if before else {}
    return {
        "source": {
            "model": str(found.resolve()) if found.exists() else request.model,
            "digest": prepared.model.digest,
        },
        # a module that `gossamer run` trained: the whole way to it is part of the recipe
        **{key: before[key] for key in ("source", "teacher", "training") if key in before},
        **(_trained(prepared) if trains else {}),
        "task": plugins.dump(prepared.task),
        "data": {
            **{
                key: {"path": str(path.resolve()), "sha256": store.digest(path)}
                for key, path in paths.items()
                if path is not None
            },
            "synthetic": prepared.data.synthetic,
            "seed": request.seed,
            "length": request.length,
        },
        "calibration": {
            "targets": list(prepared.targets),
            "exclude": {name: list(found) for name, found in prepared.exclude.items()},
            "cpu": request.cpu,
            "samples": len(prepared.data.calibration),
            "threads": prepared.threads,
        },
        "recipe": {**winner.recipe, **steps} if winner is not None else {},
        "files": dict(winner.files) if winner is not None else {},
    }


def _trained(prepared: Prepared) -> dict[str, Any]:
    """What the module steps of a recipe learned from."""
    from gossamer.sources import find

    request, training = prepared.request, prepared.training
    parts: dict[str, Any] = {}
    if request.teacher:
        digest = find(request.teacher).trainable().digest
        place = Path(request.teacher)
        name = str(place.resolve()) if place.exists() else request.teacher
        parts["teacher"] = {"model": name, "digest": digest}
    if request.training is not None and training is not None:
        parts["training"] = {"path": str(request.training.resolve()), "sha256": training.sha256}
    return parts
