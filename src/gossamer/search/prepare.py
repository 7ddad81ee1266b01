"""A request, and everything that it names, opened and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import plugins
from gossamer.errors import MissingDependency, RecipeError, TargetError
from gossamer.measure.environment import environment, named_level, physical_cores
from gossamer.measure.score import one_row
from gossamer.search.goal import MaxDrop, parse_seconds
from gossamer.search.ladder import Exclude, Rung, baseline, ladder, weights_only
from gossamer.search.space import CHOICE
from gossamer.search.wanted import Wanted
from gossamer.task import DataRequest, TaskData

if TYPE_CHECKING:
    from gossamer.progress import Progress
    from gossamer.runtime import Runtime
    from gossamer.search.executor import Executor
    from gossamer.source import FloatModel
    from gossamer.target import TargetSpec
    from gossamer.task import Task
    from gossamer.trained import TrainingRows


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks compress for; the fields are the options of the command line.

    Attributes:
        model: ONNX file, Hugging Face folder or hub id, or `package.module:factory`.
        task: Name of the task; None lets the model's configuration decide, else `fidelity`.
        options: Options of the task.
        data: File or folder; None synthesises inputs for `fidelity`.
        calibration_data: Data used for calibration alone.
        max_drop: `1%`, `0.5pt` or `0.3abs`; None is the task's default.
        targets: Names of targets; empty is every one whose runtime is a default and installed.
        cpu: Weakest CPU level on which the result must be right.
        budget: `90s`, `10m` or `2h`.
        trials: Most candidates to try, None for no limit.
        batch: Batch size of the latency that is minimised.
        length: Sequence length of the same.
        threads: Threads; None is the physical cores.
        seed: Draws the splits.
        exclude: Nodes that stay in float, as `gossamer.graph.select` finds them.
        costs: Folder where the times of kernels are kept (`gossamer profile`); None times none.
        training: Labelled samples for module steps.
        teacher: What these learn from; empty for the model as it came.
        plan: What `gossamer tune` looks for, as written; empty for compress.
        storage: URL of the database that it works with; empty for one in the output folder.
        executor: Where it evaluates candidates, as recipes write plug-ins.
    """

    model: str
    task: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    data: Path | None = None
    calibration_data: Path | None = None
    max_drop: str | None = None
    targets: tuple[str, ...] = ()
    cpu: str = "portable"
    budget: str = "10m"
    trials: int | None = None
    batch: int = 1
    length: int = 128
    threads: int | None = None
    seed: int = 0
    exclude: tuple[str, ...] = ()
    costs: Path | None = None
    training: Path | None = None
    teacher: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    storage: str = ""
    executor: Any = "local"

    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed: what is not named here."""
        free = [
            "budget",
            "trials",
            "costs",
            "storage",
            "executor",
            *([] if self.plan else ["plan"]),
        ]
        found = {k: v for k, v in dataclasses.asdict(self).items() if k not in free}
        for key in ("task", "cpu"):
            found[key] = found[key] and found[key].replace("_", "-")
        found["targets"] = [name.replace("_", "-") for name in self.targets]
        for key in ("model", "data", "calibration_data", "training", "teacher"):
            if found[key] and Path(found[key]).exists():
                found[key] = Path(found[key]).resolve()
        return dict(json.loads(json.dumps(found, default=str)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A request whose every part was found and checked; nothing is written yet but the cache.

    `exclude` holds those of the selectors that match anything on each target.
    """

    request: Request
    model: FloatModel
    task: Task
    data: TaskData
    targets: tuple[str, ...]
    exclude: Exclude
    max_drop: MaxDrop
    seconds: float
    threads: int
    out: Path
    progress: Progress
    wanted: Wanted
    training: TrainingRows | None = None


def prepare(request: Request, cache: Path, out: Path, progress: Progress) -> Prepared:
    """Everything a request names, opened and checked.

    Raises:
        InputError: Something cannot be used.
    """
    from gossamer.sources import find
    from gossamer.tasks import choose

    if request.batch < 1 or request.length < 1 or (request.threads or 1) < 1:
        raise RecipeError(
            "batch, length and threads of at least 1",
            f"{request.batch}, {request.length} and {request.threads}",
            "Leave them out for their defaults.",
        )
    seconds = parse_seconds(request.budget)
    wanted = Wanted.parse(request.plan)
    wanted.strategy.check(wanted.space)
    executor: Executor = plugins.parse("executors", request.executor)
    if executor.shares and wanted.strategy.is_alone:
        raise RecipeError(
            "a strategy whose trials can be shared",
            "one that looks alone",
            "Take --executor local.",
        )
    stated = MaxDrop.parse(request.max_drop) if request.max_drop is not None else None
    request = dataclasses.replace(request, cpu=named_level(request.cpu))
    targets = installed_targets(request.targets, request.cpu)
    progress.stage("open the model")
    model = find(request.model).open(cache)
    task = choose(request.task, model, request.options, has_data=request.data is not None)
    progress.stage("open the data")
    data = task.open(
        DataRequest(
            model=model,
            path=request.data,
            calibration_path=request.calibration_data,
            seed=request.seed,
            length=request.length,
        )
    )
    nodes = selected(model, targets, request.exclude)
    return Prepared(
        request=request,
        model=model,
        task=task,
        data=data,
        targets=targets,
        exclude={name: tuple(s for s in found if found[s]) for name, found in nodes.items()},
        max_drop=stated or MaxDrop.parse(task.default_drop),
        seconds=seconds,
        threads=request.threads or physical_cores(),
        out=out,
        progress=progress,
        wanted=wanted.of(task),
        training=_training(request, model, task),
    )


def check(prepared: Prepared) -> None:
    """Score one row of the float model, so that what does not fit is told before any work.

    Raises:
        DataError: The data does not fit the model, or the task does not fit its outputs.
    """
    prepared.progress.stage("try one row")
    target: TargetSpec = plugins.load("targets", prepared.targets[0])
    path, split = prepared.model.path, prepared.data.search
    one_row(target.runtime, path, prepared.task, split, threads=prepared.threads)


def _training(request: Request, model: FloatModel, task: Task) -> TrainingRows | None:
    """The samples that module steps train with, if there are any.

    Raises:
        InputError: The steps, the source, the teacher and the samples do not go together.
    """
    from gossamer.sources import find

    written = request.plan.get("recipe", {})
    steps = set(_names(written.get("module-steps", written.get("module_steps", []))))
    if not steps and (request.training is not None or request.teacher):
        raise RecipeError(
            "a recipe with module-steps, for training samples or a teacher",
            "one without",
            "Add the steps, or leave out training and teacher.",
        )
    if steps:
        find(request.model).trainable()
    if request.teacher:
        find(request.teacher).trainable()
    if request.training is None:
        if learning := [n for n in sorted(steps) if plugins.load("module-steps", n).learns]:
            raise RecipeError(
                f"training samples for {', '.join(learning)}", "none", "Name them: training: PATH."
            )
        return None
    from gossamer.trained import check_apart, training_rows

    check_apart(request.training, request.data, chooses=True)

    return training_rows(
        task,
        model,
        request.training,
        seed=request.seed,
        length=request.length,
    )


def _names(written: object) -> Iterator[str]:
    """The steps that a list with open places can have."""
    if isinstance(written, str):
        yield written
    elif isinstance(written, dict) and set(written) == {CHOICE}:
        yield from _names(written[CHOICE])
    elif isinstance(written, dict):
        yield from map(str, list(written)[:1])
    elif isinstance(written, list):
        for each in written:
            yield from _names(each)


def installed_targets(wanted: Sequence[str], cpu: str, *, must_run: bool = True) -> tuple[str, ...]:
    """Public names of the asked targets, or of all whose runtime is a default and installed.

    Args:
        wanted: What was asked for; empty asks for all.
        cpu: Weakest CPU level on which results must be right.
        must_run: Whether a target that is asked for needs its runtime.

    Raises:
        RecipeError: A target does not exist.
        MissingDependency: The runtime of an asked target is not installed.
        TargetError: No target is left, or one does not know the CPU level.
    """
    found = []
    for name in wanted or plugins.names("targets"):
        target: TargetSpec = plugins.load("targets", name)
        runtime: Runtime = plugins.load("runtimes", target.runtime)()
        if not wanted and not runtime.is_default:
            continue
        if not runtime.is_installed():
            if wanted and must_run:
                raise _missing(target)
            if not wanted:
                continue
        target.accumulator(cpu)
        found.append(target.name)
    if not found:
        raise TargetError("at least one installed runtime", "none", "pip install onnxruntime")
    return tuple(dict.fromkeys(found))


def _missing(target: TargetSpec) -> MissingDependency:
    """The error for a target that cannot be measured here."""
    error = MissingDependency(target.runtime, target.extra or "", f"target {target.name}")
    if target.device == "gpu":
        error.needed += ", and an NVIDIA GPU"
        error.received = "an environment without one of them"
        error.hint += (
            " where there is one. Without it nothing can be measured: compress for a runtime that "
            f"is here, then make the file with: gossamer run recipe.yaml --target {target.name}"
        )
    return error


def selected(
    model: FloatModel, targets: Sequence[str], selectors: Sequence[str]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """The nodes that each selector matches in each target's graph.

    A target may have fused what a selector names into something else; on another it may be there.

    Raises:
        RecipeError: A selector matches nothing, neither in the model nor on any target.
    """
    if not selectors:
        return {name: {} for name in targets}
    import onnx_ir as ir

    from gossamer.graph.passes.simplify import simplify
    from gossamer.graph.select import matched, unmatched
    from gossamer.run import fused

    plain = simplify(ir.load(model.path)).graph
    on_target = {name: fused(model, name).graph for name in targets}
    matches = {name: matched(graph, selectors) for name, graph in on_target.items()}
    in_plain = matched(plain, selectors)
    for selector in selectors:
        if not in_plain[selector] and not any(found[selector] for found in matches.values()):
            raise unmatched(selector, [plain, *on_target.values()])
    return matches


def planned(prepared: Prepared) -> list[Rung]:
    """The candidates that compress would try, baselines first; what --dry-run lists."""
    request = prepared.request
    flags = environment(prepared.threads).flags
    floats = [baseline(name, request.cpu, request.seed) for name in prepared.targets]
    rest = ladder(prepared.targets, request.cpu, flags, request.seed, prepared.exclude)
    if prepared.task.waits_for_weights:
        own = weights_only(prepared.targets, request.cpu, request.seed, prepared.exclude)
        rest = [*own, *rest]
    return [*floats, *rest]
