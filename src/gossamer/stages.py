"""A row for every stage of a training: what it scores, and how long it takes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import plugins
from gossamer.evaluate import files_of
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.isolate import Isolated
from gossamer.measure.measure import Comparison, Contender, measure_latency
from gossamer.measure.score import References, drop, paired_interval, score, score_baseline
from gossamer.report.document import plain
from gossamer.report.table import markdown_table
from gossamer.result import SCHEMA_VERSION
from gossamer.task import Split, example
from gossamer.timed import SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.artifact import Artifact
    from gossamer.measurement import ScoreRows
    from gossamer.progress import Progress
    from gossamer.task import Task, TaskData
    from gossamer.trained import Stage, Trained


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


def _judging(data: TaskData) -> Split:
    """Search and report together where they are of one place, else the report."""
    if data.search.samples is not data.report.samples:
        return data.report
    indices = sorted((*data.search.indices, *data.report.indices))
    return Split(samples=data.report.samples, indices=tuple(indices))


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
