"""The model files of settings, each made and scored once however many settings it has."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import store
from gossamer.errors import (
    BuildError,
    CalibrationError,
    InputError,
    MeasureError,
    PlanError,
)
from gossamer.measure.isolate import Isolated
from gossamer.measure.score import References, score, score_baseline
from gossamer.run import NO_DATA, run
from gossamer.sources import lower
from gossamer.step import Calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.artifact import Artifact
    from gossamer.grid.opened import Opened
    from gossamer.grid.recipes import Recipes
    from gossamer.progress import Progress
    from gossamer.recipe import Recipe
    from gossamer.setting import Setting
    from gossamer.statistics import Statistics
    from gossamer.task import Split

EXACT, ROUNDED = 1e-5, 1e-2  # in int8 a number may be rounded to the other side
# what says that this setting cannot be had; anything else ends the sweep, which goes on later
REFUSALS = (BuildError, CalibrationError, MeasureError, PlanError, InputError)


@dataclass(kw_only=True, eq=False)
class Files:
    """Makes and scores files; what is in the study is not made or scored again.

    Attributes:
        found: The model and its rows.
        recipes: Of the model.
        settings: All of the sweep, the float baseline first.
        out: The output folder.
        study: Where finished settings are kept.
        threads: Of calibration and scoring.
        progress: Is told of every setting.
    """

    found: Opened
    recipes: Recipes
    settings: Sequence[Setting]
    out: Path
    study: store.Study
    threads: int
    progress: Progress
    _observed: dict[tuple[int | None, int], Statistics] = field(default_factory=dict)

    def make(self) -> None:
        """Every file, scored; settings that cannot be had are kept with their reasons.

        Raises:
            BuildError: The float baseline does not run.
            StorageError: The disk is full or the folder cannot be written.
        """
        waiting = [s for s in self.settings if not self.is_known(s)]
        self.progress.stage("make and score", len(waiting))
        for setting in waiting:
            self.study.put(f"setting {setting.digest()}", self._made(setting))
            self.progress.advance()

    def is_known(self, setting: Setting) -> bool:
        """Whether a setting is finished, and its file is here or needed no more."""
        known = self.of(setting)
        if known is None or "reason" in known:
            return known is not None
        return self.path(known).exists() and self._rows(known["file"]).exists()

    def of(self, setting: Setting) -> dict[str, Any] | None:
        """What the study holds of a setting: its file, or the reason why it has none."""
        return self.study.get(f"setting {setting.digest()}")

    def path(self, made: Mapping[str, Any]) -> Path:
        """The file to open."""
        return self.out / "cache" / "models" / str(made["file"]) / str(made["open"])

    def rows(self, made: Mapping[str, Any]) -> NDArray[np.float64]:
        """What the task found of each row."""
        table: NDArray[np.float64] = np.load(self._rows(str(made["file"])), allow_pickle=False)
        return table

    def _made(self, setting: Setting) -> dict[str, Any]:
        try:
            recipe, remarks = self.recipes.recipe(setting)
            made = self._file(setting, recipe)
            self._score(made, is_baseline=setting == self.settings[0])
        except REFUSALS as error:
            if setting == self.settings[0]:
                raise
            return {"reason": str(error), "target": setting.framework}
        return {**made, "remarks": [*remarks, *made["remarks"], *self._fewer(setting)]}

    def _file(self, setting: Setting, recipe: Recipe) -> dict[str, Any]:
        """Build a file; it lies under the digest of its content, so equal ones are one."""
        models = self.out / "cache" / "models"
        scratch = models / f"of-{setting.digest()}"
        is_static = setting.approach == "static"
        calibration = self._calibration(setting) if is_static else NO_DATA
        model = self.recipes.at(self.recipes.opset(setting))
        artifact = run(model, recipe, scratch, calibration, self.progress)
        remarks = self._lowered(setting, scratch / artifact.files[0])
        key = _content(artifact, recipe)
        if (models / key).exists():
            store.remove(scratch)
        else:
            with store.told_apart(models):
                scratch.rename(models / key)
        size = sum((models / key / name).stat().st_size for name in artifact.files)
        return {
            "file": key,
            "open": artifact.files[0],
            "runtime": artifact.runtime,
            "target": artifact.target,
            "precision": recipe.precision,
            "recipe": recipe.dump(),
            "size_bytes": size,
            "remarks": remarks,
        }

    def _lowered(self, setting: Setting, path: Path) -> list[str]:
        """Say a file in the older opset that was asked for; a remark where it stays in its own.

        Only float does: what others are compared with has to be there.
        """
        opset = self.recipes.lowered(setting)
        if opset is None or path.suffix != ".onnx":
            return []
        try:
            lower(path, opset, tolerance=EXACT if setting.is_float else ROUNDED)
        except BuildError as error:
            if not setting.is_float:
                raise
            why = f"it needed {error.needed}, and has {error.received}"
            return [f"opset {opset}: float32 is measured at {self.recipes.held}, as {why}"]
        return []

    def _calibration(self, setting: Setting) -> Calibration:
        samples = setting.ranges.samples if setting.ranges else self._default_samples()
        split, opset = self.found.calibration(samples), self.recipes.opset(setting)
        return Calibration(
            statistics=lambda _: self._statistics(opset, split),
            feeds=lambda: iter(split.feeds()),
        )

    def _default_samples(self) -> int:
        return len(self.found.data.calibration)

    def _fewer(self, setting: Setting) -> list[str]:
        """A remark where the calibration data has fewer rows than were asked for."""
        if setting.ranges is None:
            return []
        asked = setting.ranges.samples
        held = len(self.found.calibration(asked))
        return [f"{asked} calibration samples: {held} were there"] if held < asked else []

    def _statistics(self, opset: int | None, split: Split) -> Statistics:
        """What was observed over some samples, for all static settings of an opset at once."""
        key = opset, len(split)
        if key not in self._observed:
            from gossamer.graph.calibrate import collect

            wanted = self.recipes.wanted(opset, self._static_recipes(opset))
            if not wanted.values:
                raise CalibrationError(
                    "a site that an int8 kernel of the target can run", "a graph without one"
                )
            self._observed[key] = collect(
                self.recipes.graph(opset, "ort-cpu", is_fused=False),
                wanted,
                split.feeds,
                samples=len(split),
                threads=self.threads,
                seed=self.recipes.seed,
            )
        return self._observed[key]

    def _static_recipes(self, opset: int | None) -> list[Recipe]:
        found = []
        for setting in self.settings:
            if setting.approach == "static" and self.recipes.opset(setting) == opset:
                try:
                    found.append(self.recipes.recipe(setting)[0])
                except REFUSALS:  # which tells of itself when its turn comes
                    continue
        return found

    def _score(self, made: dict[str, Any], *, is_baseline: bool) -> None:
        """The score of a file over all rows, unless it is known."""
        key = f"score {made['file']}"
        if self.study.get(key) is not None and self._rows(made["file"]).exists():
            return
        task, references = self.found.task, References(self.out / "cache" / "references")
        scoring: Callable[..., Any] = score_baseline if is_baseline else score
        with Isolated(
            made["runtime"], self.path(made), threads=self.threads, precision=made["precision"]
        ) as session:
            scored = scoring(session, task, self.found.rows, references)
        if not np.isfinite(scored.value):
            raise MeasureError(f"a finite {task.metric_name}", str(scored.value))
        packed = io.BytesIO()
        np.save(packed, scored.rows, allow_pickle=False)
        store.write_bytes(self._rows(made["file"]), packed.getvalue())
        self.study.put(key, {"score": scored.value, "metrics": scored.metrics})

    def _rows(self, file: str) -> Path:
        return self.out / "cache" / "rows" / f"{file}.npy"


def _content(artifact: Artifact, recipe: Recipe) -> str:
    """Sixteen digits of what runs: files of the same bytes on the same runtime are one."""
    told = repr((artifact.runtime, recipe.precision, sorted(artifact.sha256().items())))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
