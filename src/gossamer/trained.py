"""The module half of a recipe: train, export and judge every stage."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gossamer import carried, plugins, store
from gossamer.evaluate import files_of
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.isolate import Isolated
from gossamer.measure.measure import Comparison, Contender, measure_latency
from gossamer.measure.score import References, drop, paired_interval, score, score_baseline
from gossamer.qat import Aim, prepare
from gossamer.report.document import plain
from gossamer.report.table import markdown_table
from gossamer.result import SCHEMA_VERSION
from gossamer.sources._quiet import quiet_transformers
from gossamer.step import ModuleContext
from gossamer.task import Split, example

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from gossamer.artifact import Artifact
    from gossamer.measurement import ScoreRows
    from gossamer.progress import Progress
    from gossamer.qat import Prepared
    from gossamer.quant import QParams
    from gossamer.recipe import Recipe
    from gossamer.source import FloatModel, Source, TrainableModel
    from gossamer.spot import Spots
    from gossamer.step import ModuleStep, TrainingSet
    from gossamer.task import Task, TaskData

STAGES = "stages.json"
MODULE = "module"
SECONDS = 1.0  # of each stage, timed in turns
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
    """Labelled samples to train with, and the digest of the files that hold them."""

    split: Split
    sha256: str


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
    float_model, given = source.open(cache), source.trainable()
    stages = [_stage("float", float_model, given.module)]
    own = teacher or source
    taught_by = own.trainable().digest if teacher else given.digest
    prepared: list[Prepared] = []
    key = f"{given.digest} {taught_by} {training and training.sha256} {recipe.seed}"
    for step in recipe.module_steps:
        (name,) = dumped = plugins.dump(step)
        aim = _aim(step, recipe)
        told = f"{key} {json.dumps([dumped, str(aim)], sort_keys=True)}"
        key = hashlib.sha256(told.encode()).hexdigest()
        samples = _batches(training, given)
        finder = None
        if aim is not None and samples is not None:
            finder = _Spots(aim, given, samples, prepared, recipe.seed, progress)
        context = ModuleContext(
            training=samples,
            teacher=lambda: own.trainable().module,
            seed=recipe.seed,
            folder=cache / "modules" / key[:16],
            spots=finder,
            progress=progress,
        )
        given = dataclasses.replace(given, module=step.apply(given.module, context), digest=key)
        given = dataclasses.replace(given, ranges=carried.beside(context.folder))
        progress.stage(f"export what {name} made")
        stages.append(_made(name, given, float_model, cache, source.text))
    return Trained(
        stages=tuple(stages), module=given.module, ranges=given.ranges, prepared=tuple(prepared)
    )


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


def judged(
    found: Trained,
    artifacts: Mapping[str, Artifact],
    task: Task,
    data: TaskData,
    *,
    length: int,
    progress: Progress,
) -> dict[str, Any]:
    """A row for every stage, and one for each of `artifacts`, by its name.

    Scores are of all rows but those for calibration: nothing was chosen by them. Drops are against
    the source, with paired intervals; latencies of all are measured in turns (batch 1, sequences of
    `length`), and speed-ups are against the source.

    Raises:
        MeasureError: A stage cannot be run.
    """
    contenders = [
        Contender(name=f"{k} {stage.name}", runtime="ort", path=stage.model.path)
        for k, stage in enumerate(found.stages)
    ]
    contenders += [
        Contender(name=f"- {name}", runtime=artifact.runtime, path=artifact.path)
        for name, artifact in artifacts.items()
    ]
    split = _judging(data)
    progress.stage("score every stage", total=len(contenders) * len(split))
    scores = _scores(contenders, task, split, progress)
    progress.stage("time every stage")
    feed = example(found.model.inputs, next(split.feeds()), 1, length)
    cores = physical_cores()
    compared = measure_latency(contenders, feed, threads=cores, seconds=SECONDS)
    held: list[Stage | None] = [*found.stages, *[None] * len(artifacts)]
    document: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "task": plugins.dump(task),
            "metric": task.metric_name,
            "n": len(split),
            "noise_floor": compared.noise_floor,
            "float_while_training": {n: r for p in found.prepared for n, r in p.spots.missed},
            "environment": environment(cores).dump(),
            "stages": [
                _row(contender, stage, scores, compared, task)
                for contender, stage in zip(contenders, held, strict=True)
            ],
        }
    )
    return document


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


def table(document: dict[str, Any]) -> str:
    """The rows for people."""
    lines = [
        [
            row["stage"],
            f"{row['score']:.4f}",
            f"{row['drop']:+.4f}",
            "" if row["parameters"] is None else f"{row['parameters']:,}",
            "" if row["zeros"] is None else f"{row['zeros']:.1%}",
            f"{row['size_bytes'] / 1e6:.2f}",
            f"{row['latency_ms']['median']:.3f}",
            f"{row['speedup']:.2f} "
            f"[{row['speedup_interval'][0]:.2f}, {row['speedup_interval'][1]:.2f}]",
        ]
        for row in document["stages"]
    ]
    headers = ["stage", document["metric"], "drop", "parameters", "zeros", "MB", "ms", "speed-up"]
    return markdown_table(headers, lines, ("left", *("right",) * 7))


def rows_to_train(data: TaskData) -> Split:
    """Every row of the place that a task was opened on; of one with a test part, the others."""
    samples = data.search.samples
    parts = (data.calibration, data.search, data.report)
    indices = sorted({i for part in parts if part.samples is samples for i in part.indices})
    return Split(samples=samples, indices=tuple(indices))


def _judging(data: TaskData) -> Split:
    """Search and report together where they are of one place, else the report."""
    if data.search.samples is not data.report.samples:
        return data.report
    indices = sorted((*data.search.indices, *data.report.indices))
    return Split(samples=data.report.samples, indices=tuple(indices))


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


def _scores(
    contenders: list[Contender], task: Task, split: Split, progress: Progress
) -> dict[str, ScoreRows]:
    found: dict[str, ScoreRows] = {}
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        references = References(Path(scratch)) if task.needs_reference else None
        for contender in contenders:
            judge = score if found else score_baseline
            with Isolated(contender.runtime, contender.path, threads=physical_cores()) as session:
                found[contender.name] = judge(session, task, split, references, progress)
    return found


def _row(
    contender: Contender,
    stage: Stage | None,
    scores: dict[str, ScoreRows],
    compared: Comparison,
    task: Task,
) -> dict[str, Any]:
    first, own = next(iter(scores.values())), scores[contender.name]
    ratio = compared.ratios[contender.name]
    return {
        "stage": contender.name.split(" ", 1)[1],
        "runtime": contender.runtime,
        "score": own.value,
        "drop": drop(task, first.value, own.value),
        "interval": paired_interval(task, first.rows, own.rows),
        "parameters": stage and stage.parameters,
        "zeros": stage and stage.zeros,
        "size_bytes": sum(path.stat().st_size for path in files_of(contender.path)),
        "latency_ms": compared.latencies[contender.name].milliseconds(),
        "speedup": ratio.value,
        "speedup_interval": (ratio.low, ratio.high),
    }
