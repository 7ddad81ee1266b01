"""What costs a quantized model its accuracy, site by site, and a recipe that cures it."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gossamer import plugins, store
from gossamer.compress import record
from gossamer.diagnosis import Diagnosis
from gossamer.errors import OutputError, RecipeError
from gossamer.explain import graph_recipe
from gossamer.progress import Silent
from gossamer.report import diagnosis as report
from gossamer.report.diagnosis_page import page
from gossamer.rerun import calibration, check_model, read
from gossamer.step import Calibration

if TYPE_CHECKING:
    from gossamer.diagnosis import Outcome
    from gossamer.measure.isolate import Successive
    from gossamer.progress import Progress
    from gossamer.recipe import Recipe
    from gossamer.result import Candidate
    from gossamer.search.case import Case
    from gossamer.search.cure import Cures, Damages
    from gossamer.search.ladder import Rung
    from gossamer.search.prepare import Prepared, Request

SAMPLES = 512
RECIPE = "recipe.yaml"


def diagnose(  # noqa: PLR0913 - the options of the command line, by the same names
    model: str | Path,
    quantized: str | Path,
    *,
    task: str | None = None,
    data: str | Path | None = None,
    max_drop: str | None = None,
    target: str | None = None,
    cpu: str = "portable",
    samples: int = SAMPLES,
    threads: int | None = None,
    out: str | Path = "gossamer-diagnosis",
    apply: bool = False,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Diagnosis:
    """What every quantized site costs, and the recipe that was measured to cost less.

    Of a recipe, task, data, target and seed are what it was made with, where they are left open.
    The folder `out` gets `diagnosis.html`, `diagnosis.json` and the `recipe.yaml` of the cure; with
    `apply` also its `model/`, and the report split is scored.

    `quantized` is an ONNX file with Q/DQ of the same model, by any tool, which runs on `target`
    (default `ort-cpu`); or a `recipe.yaml` that compress wrote, or the folder with it. At most
    `samples` rows of the search split are read. Other options are those of `compress`.

    Raises:
        InputError: Something given cannot be used; nothing was written.
        GossamerError: Work failed; nothing was written.
    """
    from gossamer.search.prepare import Request

    started, place = time.monotonic(), Path(out)
    _check(place, samples)
    request = Request(
        model=str(model),
        task=task,
        options=dict(options or {}),
        data=None if data is None else Path(data),
        max_drop=max_drop,
        targets=(target or "ort-cpu",),
        cpu=cpu,
        threads=threads,
        seed=seed,
    )
    asked = _Asked(
        request=request,
        quantized=Path(quantized),
        target=target,
        samples=samples,
        apply=apply,
        started=started,
        command=command,
    )
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        return _work(asked, place, Path(scratch), progress or Silent())


def _check(out: Path, samples: int) -> None:
    """Raise unless the folder is free, before anything else is done."""
    store.check_writable(out)
    if out.exists() and any(out.iterdir()):
        raise OutputError(
            f"an empty or absent folder {out}", "a folder with files", "Name another --out."
        )
    if samples < 1:
        raise RecipeError("at least 1 sample", str(samples), "--samples is 512 by default.")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """What a user asks for."""

    request: Request
    quantized: Path
    target: str | None
    samples: int
    apply: bool
    started: float
    command: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """The quantized model, opened.

    Attributes:
        case: It beside its float model.
        rung: The recipe that cures begin with.
        is_new: Whether that is another recipe than the one to be cured.
        calibration: What recipes are made with.
        recorded: What `recipe.yaml` says of a cure.
    """

    prepared: Prepared
    case: Case
    rung: Rung
    is_new: bool
    calibration: Calibration
    recorded: Callable[[Candidate], dict[str, Any]]


def _work(asked: _Asked, out: Path, scratch: Path, progress: Progress) -> Diagnosis:
    from gossamer.measure.isolate import Successive

    opened = _opened(asked, scratch, progress)
    with Successive(opened.case.runtime, threads=opened.prepared.threads) as process:
        found, cures = _found(asked, opened, out, scratch, process)
    _publish(found, opened, cures, applies=asked.apply)
    return found


def _found(
    asked: _Asked, opened: _Opened, out: Path, scratch: Path, process: Successive
) -> tuple[Diagnosis, Cures]:
    from gossamer.measure.score import drop
    from gossamer.search.case import of_recipe
    from gossamer.search.cure import Cures
    from gossamer.search.examine import damage, examine
    from gossamer.search.judge import Judge
    from gossamer.task import affordable

    prepared, case = opened.prepared, opened.case
    split = affordable(prepared.data.search, asked.samples)
    prepared.progress.stage("score", 2 * len(split))
    judge = Judge(prepared, split, scratch / "references", process)
    given = judge.score(case.given)
    sites = examine(case, judge, scratch)
    lost = drop(prepared.task, judge.float_score.value, given.scored.value)
    cures = Cures(judge=judge, calibration=opened.calibration, folder=scratch / "cures")
    best = None
    if not prepared.max_drop.holds(lost, judge.float_score.value):

        def damages(rung: Rung) -> Damages:
            again = of_recipe(prepared.model, rung.recipe, opened.calibration, scratch / "again")
            return damage(again, judge, scratch)

        best = cures.search(opened.rung, damages, is_new=opened.is_new)
    proof = {}
    if asked.apply and best is not None and best.status == "ok":
        proof = _proof(opened, cures, best, scratch)
    found = Diagnosis(
        out=out,
        outcome=_outcome(best, proof),
        model=prepared.request.model,
        quantized=str(asked.quantized),
        target=opened.rung.recipe.target,
        cpu=opened.rung.recipe.cpu,
        task=_task(prepared, len(split)),
        max_drop=prepared.request.max_drop or prepared.task.default_drop,
        float_score=judge.float_score.value,
        score=given.scored.value,
        drop=lost,
        sqnr_db=given.sqnr_db,
        sites=sites,
        unmatched=case.unmatched,
        cures=tuple(cures.tried),
        cure=best if best is not None and best.status == "ok" else None,
        report=proof,
        seconds=time.monotonic() - asked.started,
        command=asked.command,
    )
    return found, cures


def _opened(asked: _Asked, scratch: Path, progress: Progress) -> _Opened:
    path = asked.quantized
    if (path / RECIPE).is_file():
        path /= RECIPE
    if path.is_dir():
        raise RecipeError(
            "a quantized ONNX file, a recipe.yaml, or a folder with one",
            f"the folder {path} without {RECIPE}",
            "compress writes it into its output folder.",
        )
    is_recipe = path.suffix in (".yaml", ".yml")
    return (_recipe if is_recipe else _file)(asked, path, scratch, progress)


def _file(asked: _Asked, path: Path, scratch: Path, progress: Progress) -> _Opened:
    from gossamer.search.case import of_file
    from gossamer.search.ladder import RULES, Rung, static_recipe
    from gossamer.search.prepare import check, prepare
    from gossamer.sources import find

    prepared = prepare(asked.request, scratch / "model", scratch, progress)
    check(prepared)
    target = plugins.load("targets", prepared.targets[0])
    quantized = find(str(path)).open(scratch / "quantized")
    case = of_file(prepared.model, quantized, target.runtime, scratch)
    cpu, seed = prepared.request.cpu, prepared.request.seed
    recipe = static_recipe(target.name, cpu, seed, plugins.load("ranges", RULES[0])())
    rung = Rung(label=f"static {RULES[0]}", recipe=recipe, placement=target.name)
    return _Opened(
        prepared=prepared,
        case=case,
        rung=rung,
        is_new=True,
        calibration=_calibration(prepared),
        recorded=functools.partial(record, prepared),
    )


def _calibration(prepared: Prepared) -> Calibration:
    """What recipes for a file are made with; statistics are collected when first asked for."""
    from gossamer.run import calibrate

    split, request = prepared.data.calibration, prepared.request
    collected = functools.partial(
        calibrate,
        prepared.model,
        prepared.exclude,
        split,
        cpu=request.cpu,
        threads=prepared.threads,
        seed=request.seed,
        progress=prepared.progress,
    )
    observed = functools.cache(collected)
    return Calibration(
        statistics=lambda _: observed(),
        feeds=split.feeds,
        everywhere=functools.cache(functools.partial(collected, is_uniform=True)),
    )


def _recipe(asked: _Asked, path: Path, scratch: Path, progress: Progress) -> _Opened:
    from gossamer.search.case import of_recipe
    from gossamer.search.ladder import Rung
    from gossamer.search.prepare import check, prepare

    known = read(path)
    recipe = graph_recipe(known, path)
    if asked.target is not None and asked.target.replace("_", "-") != recipe.target:
        raise RecipeError(
            f"the target of the recipe, {recipe.target}, or no --target",
            asked.target,
            "Leave --target out: the recipe names one.",
        )
    prepared = prepare(_as_recorded(asked.request, known, recipe), scratch, scratch, progress)
    check_model(known, prepared.model, asked.request.model)
    check(prepared)
    made_with = calibration(known, prepared.model, progress)

    def recorded(winner: Candidate) -> dict[str, Any]:
        source = {"model": asked.request.model, "digest": prepared.model.digest}
        made = {"recipe": winner.recipe, "files": dict(winner.files)}
        return {**known, "source": source, **made}

    return _Opened(
        prepared=prepared,
        case=of_recipe(prepared.model, recipe, made_with, scratch),
        rung=Rung(label="the recipe", recipe=recipe, placement=recipe.target),
        is_new=False,
        calibration=made_with,
        recorded=recorded,
    )


def _as_recorded(request: Request, known: dict[str, Any], recipe: Recipe) -> Request:
    """The request with everything filled in that the recipe knows and the user left open."""
    ((task, fields),) = known["task"].items()
    own = request.task is None and not request.options
    kept = known["data"].get("data")
    is_kept = request.data is None and kept is not None
    return dataclasses.replace(
        request,
        task=task if own else request.task,
        options=dict(fields) if own else request.options,
        data=Path(kept["path"]) if is_kept else request.data,
        targets=(recipe.target,),
        cpu=recipe.cpu,
        seed=int(known["data"]["seed"]),
        length=int(known["data"]["length"]),
    )


def _task(prepared: Prepared, rows: int) -> dict[str, Any]:
    task = prepared.task
    return {
        "name": next(iter(plugins.dump(task))),
        "metric": task.metric_name,
        "higher_is_better": task.higher_is_better,
        "synthetic": prepared.data.synthetic,
        "rows": rows,
    }


def _proof(opened: _Opened, cures: Cures, best: Candidate, scratch: Path) -> dict[str, Any]:
    """Scores on the report split, which neither the diagnosis nor the choice saw."""
    from gossamer.measure.score import drop, paired_interval
    from gossamer.search.judge import Judge
    from gossamer.search.trial import MOST_ROWS
    from gossamer.task import affordable

    prepared = opened.prepared
    split = affordable(prepared.data.report, MOST_ROWS)
    prepared.progress.stage("report split")
    judge = Judge(prepared, split, scratch / "report", cures.judge.process)
    given = judge.score(opened.case.given).scored
    file = next(iter(best.files))
    cured = judge.score(cures.path(best) / file, opened.rung.recipe.precision).scored
    expected = judge.float_score
    low, high = paired_interval(
        prepared.task, expected.rows, cured.rows, seed=prepared.request.seed
    )
    return {
        "rows": len(split),
        "float": expected.value,
        "given": given.value,
        "cured": cured.value,
        "drop": drop(prepared.task, expected.value, cured.value),
        "interval": [low, high],
        "holds": prepared.max_drop.holds(low, expected.value),
    }


def _outcome(best: Candidate | None, proof: dict[str, Any]) -> Outcome:
    """Whether there was a cure; one that the report split contradicts is none."""
    if best is None:
        return "healthy"
    return "cured" if best.within_budget and proof.get("holds", True) else "not cured"


def _publish(found: Diagnosis, opened: _Opened, cures: Cures, *, applies: bool) -> None:
    """Everything that belongs into the folder, or nothing."""
    with store.folder(found.out) as folder, store.told_apart(found.out):
        if found.cure is not None:
            text = yaml.safe_dump(opened.recorded(found.cure), sort_keys=False)
            store.write_text(folder / RECIPE, text)
            if applies:
                shutil.copytree(cures.path(found.cure), folder / "model")
                for companion in opened.prepared.model.companions:
                    shutil.copy2(companion, folder / "model" / companion.name)
        store.write_text(folder / "diagnosis.json", report.text(found))
        store.write_text(folder / "diagnosis.html", page(found))
