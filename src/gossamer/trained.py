"""The module half of a recipe: every step on the module, and the graph of what it left."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gossamer import carried, plugins, store
from gossamer.errors import DataError
from gossamer.progress import Silent
from gossamer.qat import Aim, prepare
from gossamer.sources._quiet import quiet_transformers
from gossamer.step import ModuleContext
from gossamer.task import DataRequest, Split, example
from gossamer.tasks._splits import overlap
from gossamer.timed import Timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from gossamer.progress import Progress
    from gossamer.qat import Prepared
    from gossamer.quant import QParams
    from gossamer.recipe import Recipe
    from gossamer.source import FloatModel, Source, TrainableModel
    from gossamer.spot import Spots
    from gossamer.step import ModuleStep, TrainingSet
    from gossamer.task import Task, TaskData

MODULE, STAGES = "module", "stages.json"
SOME = 32  # samples of a batch that calibrates


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What lies behind one step on the module.

    Attributes:
        name: Public name of the step; `float` for the source as it came.
        model: Its float32 graph.
        parameters: Numbers that the module holds.
        zeros: Share of them that are 0.
    """

    name: str
    model: FloatModel
    parameters: int
    zeros: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRows:
    """Labelled samples to train with.

    Attributes:
        split: The samples.
        sha256: Digest of the files that hold them.
        length: Of the sequences by which a model is timed between its steps.
    """

    split: Split
    sha256: str
    length: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What became of a source.

    Attributes:
        stages: The source, and what each step made of it.
        module: The last one, in eval mode.
        ranges: Numbers that it was trained to be stored with, by names in its simplified graph.
        prepared: What was found for each training with fake quantization.
    """

    stages: tuple[Stage, ...]
    module: nn.Module
    ranges: Mapping[str, QParams]
    prepared: tuple[Prepared, ...] = ()

    @property
    def model(self) -> FloatModel:
        """The last stage's graph."""
        return self.stages[-1].model


def trained(
    source: Source,
    recipe: Recipe,
    training: TrainingRows | None,
    *,
    teacher: Source | None = None,
    cache: Path,
    progress: Progress,
) -> Trained:
    """Every module step of `recipe` on the model of `source`.

    What long steps have finished lies in `cache`, by the digest of the source, the training data
    and the steps so far: the same call goes on where a killed one stopped.

    A `fit` with `quantize-aware` leaves ranges in its folder (`_Spots`); the graph that is exported
    behind it carries them, and `quantize-static` stores with them. A step behind it voids them.

    Args:
        source: A format that holds a torch module.
        recipe: Has module steps.
        training: Labelled samples; None for steps that ask for none.
        teacher: What techniques learn from; None is the source as it came.
        cache: A folder of the caller's.
        progress: Is told of every stage.

    Raises:
        SourceError: The source holds no torch module.
        TrainingError: A step cannot work on this module or data.
        ExportError: What a step left cannot be exported.
    """
    float_model = source.open(cache)
    stages = [_stage("float", float_model, source.trainable().module)]
    prepared: list[Prepared] = []

    def latency(model: TrainableModel) -> Timed | None:
        return _timed(stages[-1].model, model, training)

    work = _Work(cache, progress, latency, prepared)
    for name, given in _steps(source, recipe, training, teacher, work):
        progress.stage(f"export what {name} made")
        stages.append(_made(name, given, float_model, cache, source.text))
    return Trained(
        stages=tuple(stages), module=given.module, ranges=given.ranges, prepared=tuple(prepared)
    )


def trained_along(
    source: Source,
    recipe: Recipe,
    training: TrainingRows | None,
    *,
    teacher: Source | None = None,
    cache: Path,
) -> None:
    """This process's share of what `trained` does in the first process of a launch.

    Args:
        source: As there, like all that follows.
        recipe: Has module steps.
        training: Labelled samples.
        teacher: What techniques learn from.
        cache: The folder of the first process: what it noted is read there.

    Raises:
        TrainingError: A step cannot work on this module or data.
    """
    for _ in _steps(source, recipe, training, teacher, _Work(cache, Silent(), lambda _: None, [])):
        pass


@dataclass(frozen=True, slots=True)
class _Work:
    """What the steps of one process work with.

    Attributes:
        cache: Has a folder for each step.
        progress: Is told of long work.
        latency: How a module's time is compared with that of the given one.
        prepared: Takes what is found for each training with fake quantization.
    """

    cache: Path
    progress: Progress
    latency: Callable[[TrainableModel], Timed | None]
    prepared: list[Prepared]


def _steps(
    source: Source,
    recipe: Recipe,
    training: TrainingRows | None,
    teacher: Source | None,
    work: _Work,
) -> Iterator[tuple[str, TrainableModel]]:
    """The name of each module step, and what it made."""
    given = source.trainable()
    own = teacher or source
    taught_by = own.trainable().digest if teacher else given.digest
    key = f"{given.digest} {taught_by} {training and training.sha256} {recipe.seed}"
    for step in recipe.module_steps:
        (name,) = dumped = plugins.dump(step)
        aim = _aim(step, recipe)
        told = f"{key} {json.dumps([dumped, str(aim)], sort_keys=True)}"
        key = hashlib.sha256(told.encode()).hexdigest()
        samples = _batches(training, given)
        context = ModuleContext(
            training=samples,
            teacher=lambda: own.trainable().module,
            seed=recipe.seed,
            folder=work.cache / "modules" / key[:16],
            spots=_Spots(aim, given, samples, work.prepared, recipe.seed, work.progress)
            if aim and samples
            else None,
            latency=work.latency(given),
            progress=work.progress,
        )
        given = dataclasses.replace(given, module=step.apply(given.module, context), digest=key)
        given = dataclasses.replace(given, ranges=carried.beside(context.folder))
        yield name, given


@dataclass(frozen=True, slots=True)
class _Spots:
    """Prepares a module for fake quantization, and remembers what was found.

    It is for the target of the recipe and its step `quantize-static` (`gossamer.qat`), calibrated
    with training samples.
    """

    aim: Aim
    model: TrainableModel
    training: TrainingSet
    found: list[Prepared]
    seed: int
    progress: Progress

    def __call__(self, module: nn.Module) -> Spots:
        example, training = self.model.example, self.training
        size = min(SOME, len(training))
        self.progress.stage("find what int8 stores in the module")
        batches = functools.partial(training.batches, size, self.seed)
        self.found.append(prepare(module, example, batches, self.aim, self.progress))
        return self.found[-1].spots


def _aim(step: ModuleStep, recipe: Recipe) -> Aim | None:
    """What a training with fake quantization is for, the files of the recipe; None for others."""
    from gossamer.graph.steps.quantize_static import QuantizeStatic

    if not any("spots" in technique.needs for technique in getattr(step, "techniques", ())):
        return None
    static = (step for step in recipe.graph_steps if isinstance(step, QuantizeStatic))
    return Aim(target=recipe.target, cpu=recipe.cpu, step=next(static, None))


def save(found: Trained, folder: Path) -> None:
    """The trained module: a Hugging Face folder as transformers loads it, else weights and sizes.

    Where BatchNorms were folded, transformers would miss them, so these are weights too. The ranges
    that it was trained with lie beside them.

    Raises:
        StorageError: The folder cannot be written.
    """
    from gossamer.train.prune import saved

    with store.folder(folder) as scratch:
        if found.ranges:
            (scratch / carried.FILE).write_text(carried.dump(found.ranges), encoding="utf-8")
        if not hasattr(found.module, "save_pretrained"):
            saved.save(found.module, scratch)
            return
        import transformers

        with quiet_transformers(transformers):
            saved.save(found.module, scratch)
        for companion in found.model.companions:
            if companion.name != "config.json":
                shutil.copy2(companion, scratch / companion.name)


def origin(module: Path, seed: int) -> dict[str, Any]:
    """The recipe by which `run` trained the module in this folder; empty if it did not.

    A recipe has one seed: with another one than that of the training, it is empty too. So it is for
    a module that was trained with fake quantization: that is for one step `quantize-static`, and
    other steps are to work on this module, which says its ranges itself.
    """
    is_trained = module.name == MODULE and (module.parent / STAGES).is_file()
    if not is_trained or (module / carried.FILE).is_file():
        return {}
    record: dict[str, Any] = yaml.safe_load((module.parent / "recipe.yaml").read_text())
    return record if record["recipe"].get("seed", 0) == seed else {}


def training_rows(
    task: Task, model: FloatModel, path: Path, *, seed: int, length: int
) -> TrainingRows:
    """The samples at `path`, to train with.

    Args:
        task: Reads them.
        model: The source, opened.
        path: File or folder.
        seed: Of the split, which has no part in the order of training.
        length: Of the sequences by which a model is timed between its steps.

    Raises:
        DataError: They cannot be read.
    """
    data = task.open(DataRequest(model=model, path=path, seed=seed))
    return TrainingRows(split=rows_to_train(data), sha256=store.digest(path), length=length)


def check_apart(training: Path, judging: Path | None, *, chooses: bool) -> None:
    """Raise if samples that train judge as well.

    Args:
        training: File or folder of the samples that train.
        judging: Of those that judge; None where nothing does.
        chooses: Whether the training part of a folder with two parts has a say: a search chooses by
            it, where `run` judges by the other part alone.

    Raises:
        DataError: They do.
    """
    same = judging is not None and training.resolve() == judging.resolve()
    if same or (chooses and judging is not None and overlap(training, judging)):
        raise DataError(
            "training data apart from the data that judges",
            f"{training}, which shares rows with {judging}",
            "Name other samples under training.",
        )


def rows_to_train(data: TaskData) -> Split:
    """Every row of the place that a task was opened on; of one with a test part, the others."""
    samples = data.search.samples
    parts = (data.calibration, data.search, data.report)
    indices = sorted({i for part in parts if part.samples is samples for i in part.indices})
    return Split(samples=samples, indices=tuple(indices))


def _made(name: str, given: TrainableModel, source: FloatModel, cache: Path, origin: str) -> Stage:
    """The stage behind a step, exported; what surrounds the model is as in the source."""
    from gossamer.sources._module import exported

    graph = exported(given, cache, kind="trained", origin=origin)
    model = dataclasses.replace(
        source, path=graph.path, digest=given.digest, description=graph.description
    )
    return _stage(name, model, given.module)


def _stage(name: str, model: FloatModel, module: nn.Module) -> Stage:
    total = sum(p.numel() for p in module.parameters())
    zeros = sum(int((p == 0).sum()) for p in module.parameters())
    return Stage(name=name, model=model, parameters=total, zeros=zeros / max(total, 1))


def _timed(
    before: FloatModel, given: TrainableModel, training: TrainingRows | None
) -> Timed | None:
    if training is None:
        return None
    feed = example(before.inputs, next(training.split.feeds()), 1, training.length)
    return Timed(before.path, given, feed)


def _batches(training: TrainingRows | None, model: TrainableModel) -> TrainingSet | None:
    if training is None:
        return None
    from gossamer.train.batches import PaddedBatches

    filler = getattr(getattr(model.module, "config", None), "pad_token_id", None)
    return PaddedBatches(
        split=training.split,
        sequence=model.example.sequence,
        padding={} if filler is None else {"input_ids": int(filler)},
    )
