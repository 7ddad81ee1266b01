"""The file of a sweep: run configurations as Optimum has them, with lists where values vary."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gossamer.errors import RecipeError
from gossamer.grid.asked import counts, setting
from gossamer.plugins import unknown
from gossamer.setting import Setting

# what one sweep is about; the same in every run of a file
SHARED: dict[str, tuple[type, ...]] = {
    "model_name_or_path": (str,),
    "task": (str,),
    "task_args": (dict,),
    "dataset": (dict,),
    "metrics": (list,),
    "max_eval_samples": (int,),
    "batch_sizes": (list,),
    "input_lengths": (list,),
    "time_benchmark_args": (dict,),
}
# what may vary; a dotted key is a key of a mapping
VARYING: dict[str, tuple[type, ...]] = {
    "framework": (str,),
    "framework_args.opset": (int,),
    "framework_args.optimization_level": (int,),
    "framework_args.intra_op_num_threads": (int,),
    "quantization_approach": (str,),
    "apply_quantization": (bool,),
    "operators_to_quantize": (list,),
    "node_exclusion": (list,),
    "per_channel": (bool,),
    "reduce_range": (bool,),
    "calibration.method": (str,),
    "calibration.num_calibration_samples": (int,),
    "calibration.calibration_histogram_percentile": (int, float),
    "calibration.calibration_moving_average": (bool,),
    "calibration.calibration_moving_average_constant": (int, float),
    "aware_training": (bool,),
}
LISTS = ("operators_to_quantize", "node_exclusion")
MAPPINGS = ("framework_args", "calibration")
TIMING = {"duration": (int, float), "warmup_runs": (int,)}
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"} | {
    list: "a list",
    dict: "a mapping",
}
DURATION = 5.0
WARM_UP = "every session is warmed up for 0.1 s and 3 calls, as long as that takes, not by a number"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What the file of a sweep asks for.

    Attributes:
        model: As compress takes it.
        task: Its name; None lets the model's configuration decide.
        task_args: Options of the task.
        dataset: As the file has it; empty where there is none.
        metrics: To be shown; empty is the score alone.
        rows: Most rows to score on; None is all.
        batches: Batch sizes to time.
        lengths: Lengths to time.
        seconds: Of each setting at each of these.
        settings: The float baselines first, one for each number of threads.
        values: Of each setting, by dotted keys of the file.
        fixed: What every setting shares, as the file has it.
        varied: Values of the others.
        remarks: What is done otherwise than asked for, in all settings.
    """

    model: str
    task: str | None
    task_args: Mapping[str, Any]
    dataset: Mapping[str, Any]
    metrics: tuple[str, ...]
    rows: int | None
    batches: tuple[int, ...]
    lengths: tuple[int, ...]
    seconds: float
    settings: tuple[Setting, ...]
    values: tuple[dict[str, Any], ...]
    fixed: dict[str, Any]
    varied: dict[str, tuple[Any, ...]]
    remarks: tuple[str, ...] = ()


def read(path: Path) -> list[dict[str, Any]]:
    """The runs in a file of YAML or JSON, keys checked.

    Raises:
        RecipeError: The file cannot be read, or is none of runs.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"the file of a sweep at {path}",
            f"{type(error).__name__}: {error}",
            "It is YAML or JSON; check the path.",
        ) from error
    runs = found if isinstance(found, list) else [found]
    if not runs or not all(isinstance(run, dict) for run in runs):
        raise RecipeError(
            f"a run (a mapping with model_name_or_path), or a list of runs, in {path}",
            repr(found)[:80],
            "That key names the model, as for compress.",
        )
    return [_checked(run) for run in runs]


def grid(runs: list[dict[str, Any]]) -> Grid:
    """Every combination of the values in every run, each once.

    Raises:
        RecipeError: A value of another kind, or runs about different models or data.
    """
    shared = _shared(runs)
    if not isinstance(shared.get("model_name_or_path"), str):
        raise RecipeError(
            "model_name_or_path in a run",
            f"the keys {', '.join(runs[0])}",
            "It is whatever compress takes as MODEL.",
        )
    found: dict[Setting, dict[str, Any]] = {}
    asked: dict[str, list[Any]] = {}
    combined = [values for run in runs for values in _combined(run)]
    for values in combined:
        for key, value in values.items():
            known = asked.setdefault(key, [None] if key == "quantization_approach" else [])
            if value not in known:  # the baseline's approach is always among them
                known.append(value)
    float_ones = [_float(values, combined[0]) for values in combined]
    for values in (*float_ones, *combined):
        one, counted = setting(values)
        found.setdefault(one, counted)
        for key, known in asked.items():
            if key not in values and None not in known and counts(key, one):
                known.append(None)  # what is left out here is a value beside those elsewhere
    times = _timing(shared.get("time_benchmark_args") or {})
    return Grid(
        model=shared["model_name_or_path"],
        task=shared.get("task"),
        task_args=shared.get("task_args") or {},
        dataset=shared.get("dataset") or {},
        metrics=tuple(map(str, shared.get("metrics") or ())),
        rows=shared.get("max_eval_samples"),
        batches=_numbers(shared, "batch_sizes", 1),
        lengths=_numbers(shared, "input_lengths", 128),
        seconds=times,
        settings=tuple(found),
        values=tuple(found.values()),
        fixed={**shared, **{k: v[0] for k, v in asked.items() if len(v) == 1}},
        varied={k: tuple(v) for k, v in asked.items() if len(v) > 1},
        remarks=(WARM_UP,) if "warmup_runs" in (shared.get("time_benchmark_args") or {}) else (),
    )


def _checked(run: dict[Any, Any]) -> dict[str, Any]:
    """A run with `_` for `-` in its keys, all of which are known."""
    plain = {str(key).replace("-", "_"): value for key, value in run.items()}
    known = (*SHARED, *dict.fromkeys(key.split(".")[0] for key in VARYING))
    for key, value in plain.items():
        if key not in known:
            raise unknown("a key of a run", key, known)
        if key in SHARED and value is not None:
            _check(key, value, SHARED[key])
    return {key: value for key, value in plain.items() if value is not None or key in VARYING}


def _check(key: str, value: object, kinds: tuple[type, ...]) -> None:
    is_number_for_truth = isinstance(value, bool) and bool not in kinds
    if is_number_for_truth or not isinstance(value, kinds):
        raise RecipeError(
            f"{' or '.join(WORDS[k] for k in kinds)} for {key}",
            repr(value)[:80],
            "A list of such values makes a grid, where a key may vary.",
        )


def _shared(runs: list[dict[str, Any]]) -> dict[str, Any]:
    for key in SHARED:
        if len({repr(run.get(key)) for run in runs}) > 1:
            raise RecipeError(
                f"the same {key} in every run of a file",
                " and ".join(dict.fromkeys(repr(run.get(key))[:60] for run in runs)),
                "Give the others a file of their own.",
            )
    return {key: runs[0][key] for key in SHARED if key in runs[0]}


def _combined(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of one run, by dotted keys."""
    choices = [_alternatives(key, value) for key, value in run.items() if key not in SHARED]
    for parts in itertools.product(*choices):
        yield {key: value for part in parts for key, value in part.items()}


def _alternatives(key: str, value: object) -> list[dict[str, Any]]:
    """The values that a key takes in turn: a list is one where its elements could stand."""
    if key in MAPPINGS:
        return [each for part in _listed(value) for each in _of_mapping(key, part)]
    if key in LISTS:
        is_several = isinstance(value, list) and any(
            v is None or isinstance(v, list) for v in value
        )
        several = value if is_several and isinstance(value, list) else [value]
    else:
        several = _listed(value)
    for each in several:
        if each is not None:
            _check(key, each, VARYING[key])
    if not several:
        raise RecipeError(
            f"at least one value of {key}",
            "an empty list",
            "Leave the key out, or give it a value.",
        )
    return [{key: each} for each in several]


def _of_mapping(key: str, value: object) -> Iterator[dict[str, Any]]:
    if value is None:
        yield {}
        return
    if not isinstance(value, dict):
        raise RecipeError(
            f"a mapping for {key}", repr(value)[:80], "Each of its keys may hold a list of values."
        )
    known = tuple(k.split(".")[1] for k in VARYING if k.startswith(f"{key}."))
    names = {str(name).replace("-", "_"): each for name, each in value.items()}
    for name in names:
        if name not in known:
            raise unknown(f"a key of {key}", name, known)
    choices = [_alternatives(f"{key}.{name}", each) for name, each in names.items()]
    for parts in itertools.product(*choices):
        yield {k: v for part in parts for k, v in part.items()}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _float(values: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """The float model on the first framework of the file, with the threads of these values."""
    threads = "framework_args.intra_op_num_threads"
    same = ("framework", "framework_args.opset")
    kept: dict[str, Any] = {key: first[key] for key in same if key in first}
    kept |= {threads: values[threads]} if threads in values else {}
    return {**kept, "quantization_approach": None}


def _numbers(shared: Mapping[str, Any], key: str, default: int) -> tuple[int, ...]:
    found = shared.get(key) or [default]
    for each in found:
        _check(key, each, (int,))
    if min(found) < 1:
        raise RecipeError(
            f"numbers of at least 1 for {key}", repr(found), "Leave the key out for its default."
        )
    return tuple(dict.fromkeys(found))


def _timing(args: Mapping[str, Any]) -> float:
    for key, value in args.items():
        if key not in TIMING:
            raise unknown("a key of time_benchmark_args", str(key), tuple(TIMING))
        _check(key, value, TIMING[key])
    seconds = float(args.get("duration", DURATION))
    if not 0 < seconds <= 600:
        raise RecipeError(
            "a duration above 0, up to 600 seconds",
            repr(seconds),
            "It is how long each setting is timed at each point; 5 is the default.",
        )
    return seconds
