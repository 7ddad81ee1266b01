"""All the work of a sweep, in order: files, scores, times, and what they come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import plugins
from gossamer.grid.files import Files
from gossamer.grid.recipes import Recipes
from gossamer.grid.times import Point, Times, points
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.score import drop, paired_interval
from gossamer.swept import Swept, SweptSetting, Timing

if TYPE_CHECKING:
    from gossamer import store
    from gossamer.grid.opened import Opened
    from gossamer.grid.runs import Grid
    from gossamer.progress import Progress
    from gossamer.setting import Setting


def measured(
    asked: Grid, found: Opened, out: Path, study: store.Study, progress: Progress
) -> Swept:
    """Everything made, scored and timed that the study does not have yet; then what it holds.

    Args:
        asked: The settings, and where they are timed.
        found: The model and its rows.
        out: The output folder.
        study: Where finished work is kept.
        progress: Is told of every setting and timing.

    Raises:
        GossamerError: The float baseline cannot be measured, or nothing can be written.
    """
    files = Files(
        found=found,
        recipes=Recipes(model=found.model, cache=out / "cache"),
        settings=asked.settings,
        out=out,
        study=study,
        threads=max(_threads(s) for s in asked.settings),
        progress=progress,
    )
    files.make()
    times = Times(
        inputs=found.model.inputs,
        sample=next(iter(found.rows.feeds())),
        seconds=asked.seconds,
        study=study,
        progress=progress,
    )
    times.measure({point: _files_at(point, files) for point in _points(asked, found)})
    return _assembled(asked, files)


def _threads(setting: Setting) -> int:
    """Threads that a setting runs with."""
    return setting.threads or physical_cores()


def _points(asked: Grid, found: Opened) -> list[Point]:
    counts = list(dict.fromkeys(_threads(s) for s in asked.settings))
    return list(points(counts, asked.batches, asked.lengths, found.model.inputs))


def _files_at(point: Point, files: Files) -> list[tuple[Mapping[str, Any], Path]]:
    """Every different file that is run with so many threads, the baseline first."""
    found: dict[str, Mapping[str, Any]] = {}
    for setting in files.settings:
        made = files.of(setting)
        if made is not None and "file" in made and _threads(setting) == point.threads:
            found.setdefault(made["file"], made)
    return [(made, files.path(made)) for made in found.values()]


def _assembled(asked: Grid, files: Files) -> Swept:
    """What the study holds, in the order of the settings."""
    found, task = files.found, files.found.task
    rows = [
        _setting(setting, values, asked, files)
        for setting, values in zip(asked.settings, asked.values, strict=True)
    ]
    return Swept(
        out=files.out,
        model={**dict(found.model.description), "digest": found.model.digest},
        task={
            "name": next(iter(plugins.dump(task))),
            "metric": task.metric_name,
            "higher_is_better": task.higher_is_better,
            "synthetic": found.data.synthetic,
            "rows": len(found.rows),
            "calibration": len(found.data.calibration),
            "remarks": found.data.remarks,
        },
        environment=environment(files.threads).dump(),
        fixed=asked.fixed,
        varied=asked.varied,
        metrics=asked.metrics or (task.metric_name,),
        settings=tuple(rows),
        point_seconds=asked.seconds,
        files=len({row.file for row in rows if row.file is not None}),
        seconds=0.0,
        remarks=(*asked.remarks, *found.remarks),
    )


def _setting(setting: Setting, values: dict[str, Any], asked: Grid, files: Files) -> SweptSetting:
    made = files.of(setting) or {}
    first = asked.settings[0]
    shared: dict[str, Any] = {
        "id": setting.digest(),
        "values": values,
        "threads": _threads(setting),
    }
    if "reason" in made:
        target = str(made["target"])
        return SweptSetting(**shared, status="failed", reason=made["reason"], target=target)
    is_baseline = setting == dataclasses.replace(first, threads=setting.threads)
    scored = files.study.get(f"score {made['file']}") or {}
    baseline = files.of(first) or {}
    task = files.found.task
    reference = (files.study.get(f"score {baseline['file']}") or {})["score"]
    return SweptSetting(
        **shared,
        status="ok",
        remarks=tuple(made["remarks"]),
        is_baseline=is_baseline,
        drop=drop(task, reference, scored["score"]),
        drop_interval=paired_interval(task, files.rows(baseline), files.rows(made)),
        timings=tuple(
            Timing(batch=p.batch, length=p.length, **_timing(files.study.get(p.key(made["file"]))))
            for p in _points(asked, files.found)
            if p.threads == _threads(setting)
        ),
        **{k: made[k] for k in ("file", "runtime", "target", "recipe", "size_bytes")},
        **scored,
    )


def _timing(kept: dict[str, Any] | None) -> dict[str, Any]:
    found = dict(kept or {})
    if found.get("speedup_interval"):
        found["speedup_interval"] = tuple(found["speedup_interval"])
    return found
