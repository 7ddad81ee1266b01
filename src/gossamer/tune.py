"""Search the open places of a recipe, by a file that says what to look for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gossamer import plugins
from gossamer.compress import work
from gossamer.errors import RecipeError

if TYPE_CHECKING:
    from gossamer.progress import Progress
    from gossamer.result import Result
    from gossamer.search.prepare import Request

# what a file may say: as the options of compress ask, and what is looked for
ASKED: dict[str, type] = {
    "source": str,
    "task": object,
    "data": str,
    "calibration-data": str,
    "training": str,
    "teacher": str,
    "max-drop": str,
    "cpu": str,
    "budget": str,
    "trials": int,
    "batch": int,
    "length": int,
    "threads": int,
    "seed": int,
}
LOOKED_FOR: dict[str, type] = {
    "recipe": dict,
    "strategy": object,
    "objectives": object,
    "constraints": object,
}
NEEDED = ("source", "recipe")
PLACES = ("data", "calibration-data", "training")


def tune(  # noqa: PLR0913 - the options of the command line, by the same names
    search: str | Path,
    *,
    trials: int | None = None,
    budget: str | None = None,
    storage: str = "",
    executor: Any = "local",
    out: str | Path = "gossamer-out",
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str = "",
) -> Result:
    """The best recipe that a search found and measured; `out` is as compress writes it.

    Candidates are measured and judged as by compress. Several processes may work on one search: the
    first one begins it, others join with `resume`, in the same `out` or by the same `storage`.

    Args:
        search: A YAML file: what compress is told by options, a `recipe` in which places are open
            (`{choice: [a, b]}`, `{range: {low: 1, high: 9}}`), a `strategy`, `objectives`, of which
            the first one decides, and `constraints`.
        trials: Most recipes to try, over all processes; None is what the file says.
        budget: `90s`, `10m` or `2h`, of this process; None is what the file says, else `10m`.
        storage: URL of a database that several machines reach (`postgresql://…`); empty keeps the
            trials in `out/tuning.db`.
        executor: `local`, or `ray` for all nodes of a Ray cluster; `{"ray": {"address": …}}`.
        out: The output folder.
        resume: Whether to go on in a folder with trials.
        overwrite: Whether to replace what is in the folder.
        progress: Is told of every stage.
        command: What the user typed, for the report.

    Raises:
        InputError: Something given cannot be used; nothing was written.
        GossamerError: Work failed; what exists is kept and `resume` goes on.
    """
    request = _read(Path(search))
    changed: dict[str, Any] = {"trials": trials, "budget": budget, "storage": storage or None}
    changed["executor"] = executor
    request = dataclasses.replace(request, **{k: v for k, v in changed.items() if v is not None})
    return work(request, Path(out), progress, command, resume=resume, overwrite=overwrite)


def _read(path: Path) -> Request:
    """What a search file asks for.

    Raises:
        RecipeError: The file is none.
    """
    from gossamer.search.prepare import Request
    from gossamer.search.wanted import targets

    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"a search at {path}", f"{type(error).__name__}: {error}", "It is YAML; check the path."
        ) from error
    found = _checked(written, path)
    plan = {key: found.pop(key) for key in LOOKED_FOR if key in found}
    task, options = _task(found.pop("task", None))
    places = {k: Path(found.pop(k)) for k in PLACES if k in found}
    return Request(
        model=found.pop("source"),
        task=task,
        options=options,
        data=places.get("data"),
        calibration_data=places.get("calibration-data"),
        training=places.get("training"),
        targets=targets(plan["recipe"]),
        plan=plan,
        **{key.replace("-", "_"): value for key, value in found.items()},
    )


def _checked(written: object, path: Path) -> dict[str, Any]:
    known = {**ASKED, **LOOKED_FOR}
    given = written if isinstance(written, dict) else {}
    found = {str(key).replace("_", "-"): value for key, value in given.items()}
    if missing := [key for key in NEEDED if key not in found]:
        raise RecipeError(
            f"{' and '.join(missing)} in the search at {path}",
            repr(written)[:80],
            "source is the model, as for compress; recipe has open places.",
        )
    for key, value in found.items():
        if key not in known:
            raise plugins.unknown("a key of a search", key, tuple(known))
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise RecipeError(
                f"{known[key].__name__} for {key} in {path}",
                repr(value),
                "Options are called as those of compress.",
            )
    return found


def _task(written: object) -> tuple[str | None, dict[str, Any]]:
    """The name of a task and its options, from `name` or `{name: {option: value}}`."""
    if written is None or isinstance(written, str):
        return written, {}
    if isinstance(written, dict) and len(written) == 1:
        ((name, options),) = written.items()
        if options is None or isinstance(options, dict):
            return str(name), dict(options or {})
    raise RecipeError(
        "a task, or {task: {option: value}}",
        repr(written)[:80],
        "Such as task: {text-classification: {metric: f1}}.",
    )
