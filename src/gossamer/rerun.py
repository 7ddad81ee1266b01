"""Make again what a recipe.yaml describes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gossamer import plugins, store
from gossamer.errors import DataError, OutputError, RecipeError
from gossamer.measure.environment import named_level, physical_cores
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.run import calibrate, run
from gossamer.step import Calibration
from gossamer.task import DataRequest

if TYPE_CHECKING:
    from gossamer.artifact import Artifact
    from gossamer.progress import Progress
    from gossamer.source import FloatModel, Source
    from gossamer.statistics import Statistics
    from gossamer.task import Split, Task, TaskData
    from gossamer.trained import TrainingRows

# what is read of a recipe.yaml; Recipe and the task read their own parts
KEYS: dict[str, dict[str, type]] = {
    "source": {"model": str, "digest": str},
    "task": {},
    "data": {"seed": int, "length": int},
    "calibration": {"targets": list, "cpu": str, "threads": int},
    "recipe": {},
}
NEEDED = {"source": object, "task": object, "recipe": dict}  # the rest can be found
CACHE = "cache"
FILE = {"path": str, "sha256": str}
FILES = ("data", "calibration-data")
FOUND = {"cpu": "portable", "seed": 0}  # in the recipe; of other types `Recipe.parse` tells
# what people may write as one text, and which key that text is
SHORT = {"source": "model", "teacher": "model", "training": "path"}


def rerun(
    recipe: str | Path,
    out: str | Path = "gossamer-out",
    progress: Progress | None = None,
    *,
    target: str | None = None,
) -> Artifact:
    """The files in `out/model`: the same, to the bit, on the same machine, versions and threads.

    Args:
        recipe: A `recipe.yaml` that compress wrote, or one with steps on the module (which trains).
        out: An empty or absent folder, or one in which such a training was killed: it goes on.
        progress: Is told of every stage.
        target: Another target to make them for; its runtime need not be here if it takes ONNX
            files, and then the artifact says what is left to do where it is.

    Raises:
        RecipeError: The file is no recipe.
        DataError: The model or the data is not what it was.
        OutputError: `out` exists already.
    """
    record, out, watcher = read(Path(recipe)), Path(out), progress or Silent()
    if target is not None and isinstance(record["recipe"], dict):
        record["recipe"] = {**record["recipe"], "target": target}
    parsed = parse(record)
    plugins.load("targets", parsed.target)  # before any work
    store.check_writable(out)
    if out.exists() and any(out.iterdir()) and not _is_unfinished(parsed, out):
        raise OutputError(f"an empty or absent folder {out}", "files in it", "Name another --out.")
    if parsed.module_steps:
        return _rerun_trained(record, parsed, out, watcher)
    from gossamer.sources import find

    watcher.stage("open the model")
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        model = find(str(record["source"]["model"])).open(Path(scratch))
        check_model(record, model, str(record["source"]["model"]))
        try:
            made_with = calibration(record, model, watcher)
            return run(model, parsed, out / "model", made_with, watcher)
        except BaseException:
            with contextlib.suppress(OSError):
                out.rmdir()  # only an empty folder goes
            raise


def rerun_along(recipe: str | Path, out: str | Path) -> None:
    """Train along in a further process of a launch, whose first process calls `rerun`.

    Args:
        recipe: The recipe of that call.
        out: Its folder, which all processes of the launch see.

    Raises:
        RecipeError: The file is no recipe with steps on the module.
        DataError: The model or the data is not what it was.
    """
    from gossamer.sources import find
    from gossamer.train.processes import first_alone
    from gossamer.trained import trained_along

    record = read(Path(recipe))
    parsed, source = parse(record), find(str(record["source"]["model"]))
    if not parsed.module_steps:
        raise RecipeError(
            "a recipe that trains, for several processes",
            f"{recipe}, which has no module-steps",
            "Run it in one.",
        )
    with first_alone():  # it exports the model, which lies in the cache then
        model = source.open(Path(out) / CACHE)
    rows = _training(record, model)
    trained_along(source, parsed, rows, teacher=_teacher(record), cache=Path(out) / CACHE)


def _is_unfinished(recipe: Recipe, out: Path) -> bool:
    """Whether `out` is what a killed training left."""
    from gossamer.trained import STAGES

    return bool(recipe.module_steps) and (out / CACHE).is_dir() and not (out / STAGES).exists()


def _rerun_trained(
    record: dict[str, Any], recipe: Recipe, out: Path, progress: Progress
) -> Artifact:
    """The files, and beside them the trained module, a row for every stage, and the recipe."""
    from gossamer.sources import find
    from gossamer.stages import judged
    from gossamer.train.processes import first_alone
    from gossamer.trained import MODULE, STAGES, save, trained

    progress.stage("open the model")
    name = str(record["source"]["model"])
    source = find(name)
    with first_alone():
        model = source.open(out / CACHE)
    record["source"]["digest"] = record["source"]["digest"] or model.digest
    check_model(record, model, name)
    task = plugins.parse("tasks", record["task"]).resolved(model)
    found = trained(
        source,
        recipe,
        _training(record, model),
        teacher=_teacher(record),
        cache=out / CACHE,
        progress=progress,
    )
    made_with = calibration(record, found.model, progress)
    artifact = run(found.model, recipe, out / "model", made_with, progress)
    artifacts = {}
    if recipe.graph_steps and not artifact.elsewhere:
        # what these steps do without any training: the rest is what training gave
        made_with = calibration(record, model, progress)
        plain = run(model, recipe, out / CACHE / "model", made_with, progress)
        artifacts = {"files of the source": plain, "files": artifact}
    length = int(record["data"]["length"])
    document = judged(
        found,
        artifacts,
        task,
        _data(record, model),
        length=length,
        progress=progress,
    )
    save(found, out / MODULE)
    store.write_text(out / "recipe.yaml", yaml.safe_dump(record, sort_keys=False))
    store.write_text(out / STAGES, json.dumps(document, indent=1))
    return artifact


def _teacher(record: dict[str, Any]) -> Source | None:
    """Who teaches, if it is not the model as it came.

    Raises:
        DataError: It is another model than the recipe was run with.
    """
    from gossamer.sources import find

    if "teacher" not in record:
        return None
    name, known = str(record["teacher"]["model"]), record["teacher"]["digest"]
    teacher = find(name)
    found = teacher.trainable().digest
    if known not in ("", found):
        raise DataError(
            f"the teacher of the recipe, digest {known}",
            f"one with digest {found} at {name}",
            "Restore it, or leave the digest out to learn from this one.",
        )
    record["teacher"]["digest"] = found
    return teacher


def _training(record: dict[str, Any], model: FloatModel) -> TrainingRows | None:
    """The samples to train with, if the recipe names any."""
    from gossamer.trained import check_apart, training_rows

    if "training" not in record:
        return None
    place, judging = _unchanged(record["training"], "training data"), record["data"].get("data")
    check_apart(place, Path(judging["path"]) if judging else None, chooses=False)
    return training_rows(
        plugins.parse("tasks", record["task"]).resolved(model),
        model,
        place,
        seed=int(record["data"]["seed"]),
        length=int(record["data"]["length"]),
    )


def parse(record: dict[str, Any]) -> Recipe:
    """The recipe of what `read` gave.

    Raises:
        RecipeError: It is none.
    """
    parsed = Recipe.parse(record["recipe"])
    return dataclasses.replace(parsed, cpu=named_level(parsed.cpu))


def check_model(record: dict[str, Any], model: FloatModel, name: str) -> None:
    """Raise unless `model`, which the user calls `name`, is the one that the recipe is for.

    Raises:
        DataError: It is another one.
    """
    if record["source"]["digest"] not in ("", model.digest):
        raise DataError(
            f"the model of the recipe, digest {record['source']['digest']}",
            f"one with digest {model.digest} at {name}",
            "Restore it, or run compress again.",
        )


def calibration(record: dict[str, Any], model: FloatModel, progress: Progress) -> Calibration:
    """What the recipe was made with; statistics are collected when they are first asked for."""
    split = functools.cache(lambda: _data(record, model).calibration)
    recipe = parse(record)
    observed = functools.cache(lambda: _calibrated(record, recipe, model, split(), progress))
    everywhere = functools.cache(
        lambda: _calibrated(record, recipe, model, split(), progress, is_uniform=True)
    )
    return Calibration(
        statistics=lambda _: observed(),
        feeds=lambda: iter(split().feeds()),
        everywhere=everywhere,
    )


def read(path: Path) -> dict[str, Any]:
    """What a `recipe.yaml` says.

    Raises:
        RecipeError: The file is no recipe.
    """
    try:
        record: dict[str, Any] = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise RecipeError(f"a recipe at {path}", told, "Check the path.") from error
    record = _completed(record)
    _check(record, NEEDED, str(path))
    for section, keys in KEYS.items():
        if keys:
            _check(record[section], keys, f"{section} of {path}")
    for name in FILES:
        if name in record["data"]:
            _check(record["data"][name], FILE, f"data, {name} of {path}")
    if "teacher" in record:
        _check(record["teacher"], KEYS["source"], f"teacher of {path}")
    if "training" in record:
        _check(record["training"], FILE, f"training of {path}")
    exclude = record["calibration"].setdefault("exclude", {})
    named = map(str, record["calibration"]["targets"])
    _check(
        exclude,
        {t: list for t in named if not isinstance(exclude, dict) or t in exclude},
        f"exclude under calibration of {path}",
    )
    return record


def _completed(record: Any) -> Any:
    """The record with what people leave out of a recipe.

    What lies at the paths now is then what the recipe is about.
    """
    recipe = record.get("recipe") if isinstance(record, dict) else None
    if not isinstance(recipe, dict):
        return record
    record = {"data": {}, "calibration": {}, **record}
    for key, name in SHORT.items():
        if isinstance(record.get(key), str):
            record[key] = {name: record[key]}
    if isinstance(record["data"], str):
        record["data"] = {"data": {"path": record["data"]}}
    cpu, seed = (x if type(x := recipe.get(k, y)) is type(y) else y for k, y in FOUND.items())
    left_out: dict[str, dict[str, Any]] = {
        "source": {"digest": ""},
        "teacher": {"digest": ""},
        "data": {"seed": seed, "length": 128},
        "calibration": {"targets": [recipe.get("target")], "cpu": cpu, "threads": physical_cores()},
    }
    for key, values in left_out.items():
        if isinstance(record.get(key), dict):
            record[key] = {**values, **record[key]}
    places = record["data"] if isinstance(record["data"], dict) else {}
    for file in (*(places.get(key) for key in FILES), record.get("training")):
        if isinstance(file, dict) and "path" in file and "sha256" not in file:
            file["sha256"] = _digest_of(Path(str(file["path"])))
    return record


def _digest_of(path: Path) -> str:
    if not path.exists():
        raise DataError(
            "data at the path that the recipe names",
            f"nothing at {path}",
            "Paths are from the folder that the command is run in.",
        )
    return store.digest(path)


def _check(found: object, keys: Mapping[str, type], where: str) -> None:
    """Raise unless `found` is a mapping with `keys`."""
    known = found if isinstance(found, dict) else {}
    if any(key not in known or not isinstance(known[key], kind) for key, kind in keys.items()):
        kinds = [k if kind is object else f"{k} ({kind.__name__})" for k, kind in keys.items()]
        raise RecipeError(
            f"the keys {', '.join(kinds)} in {where}",
            repr(found)[:200],
            "compress writes such a file into its output folder.",
        )


def _unchanged(file: Mapping[str, str], what: str) -> Path:
    """The place that a recipe names, if what lies there is what it was."""
    found = Path(file["path"])
    if not found.exists() or store.digest(found) != file["sha256"]:
        raise DataError(
            f"the {what} of the recipe, sha256 {file['sha256']}",
            f"{'other content' if found.exists() else 'nothing'} at {found}",
            "Restore it, or run compress again.",
        )
    return found


def _data(record: dict[str, Any], model: FloatModel) -> TaskData:
    """The samples, if the data is what it was."""
    asked = record["data"]
    paths = {key: _unchanged(asked[key], "data") for key in FILES if key in asked}
    task: Task = plugins.parse("tasks", record["task"]).resolved(model)
    request = DataRequest(
        model=model,
        path=paths.get("data"),
        calibration_path=paths.get("calibration-data"),
        seed=int(asked["seed"]),
        length=int(asked["length"]),
    )
    return task.open(request)


def _calibrated(
    record: dict[str, Any],
    recipe: Recipe,
    model: FloatModel,
    split: Split,
    progress: Progress,
    *,
    is_uniform: bool = False,
) -> Statistics:
    made = record["calibration"]
    # the recipe's own target is another one where its files are to run elsewhere
    targets = dict.fromkeys((*map(str, made["targets"]), recipe.target))
    return calibrate(
        model,
        {name: tuple(made["exclude"].get(name, ())) for name in targets},
        split,
        cpu=named_level(str(made["cpu"])),
        threads=int(made["threads"]),
        seed=recipe.seed,
        progress=progress,
        is_uniform=is_uniform,
    )
