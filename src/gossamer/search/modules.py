"""The models behind candidates: the source, and what module steps make of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer import plugins, store
from gossamer.errors import CalibrationError
from gossamer.graph.calibrate import load, save
from gossamer.run import calibrate
from gossamer.step import Calibration

if TYPE_CHECKING:
    from gossamer.recipe import Recipe
    from gossamer.search.prepare import Prepared
    from gossamer.source import FloatModel
    from gossamer.statistics import Statistics


class Observed:
    """The statistics of one calibration pass: from the cache, or made when first asked for.

    Args:
        prepared: The request, opened and checked.
        model: Whose values are observed.
        path: File of the cache.
        is_uniform: Whether every operator that has an int8 kernel counts, if it pays or not.
    """

    def __init__(
        self, prepared: Prepared, model: FloatModel, path: Path, *, is_uniform: bool = False
    ) -> None:
        self._prepared, self._model, self._path = prepared, model, path
        self._is_uniform = is_uniform
        self._refused: CalibrationError | None = None
        self.statistics: Statistics | None = load(path) if path.exists() else None

    def __call__(self, _: Sequence[str] = ()) -> Statistics:
        """What was observed, of all sites.

        Raises:
            CalibrationError: The model cannot be calibrated, now or when it was tried before.
        """
        if self._refused is not None:
            raise self._refused
        if self.statistics is None:
            try:
                self.statistics = self._collected()
            except CalibrationError as error:
                self._refused = error  # the next candidate would wait for the same answer
                raise
            save(self.statistics, self._path)
        return self.statistics

    def _collected(self) -> Statistics:
        prepared, request = self._prepared, self._prepared.request
        return calibrate(
            self._model,
            prepared.exclude,
            prepared.data.calibration,
            cpu=request.cpu,
            threads=prepared.threads,
            seed=request.seed,
            progress=prepared.progress,
            is_uniform=self._is_uniform,
        )


class Modules:
    """The model of each recipe; what its module steps make is trained once, and kept in the cache.

    Args:
        prepared: The request, opened and checked.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._known: dict[str, Calibration] = {}  # by the digest of the model
        self._seconds: dict[str, float] = {}  # that each training took

    def opened(self, recipe: Recipe, calibration: Calibration) -> tuple[FloatModel, Calibration]:
        """The float model that the graph steps of `recipe` start from, and its calibration.

        Args:
            recipe: With module steps, which train now unless they did before, or without.
            calibration: Of the source.

        Raises:
            GossamerError: A module step cannot work on this source or data.
        """
        if not recipe.module_steps:
            return self._prepared.model, calibration
        from gossamer.sources import find
        from gossamer.trained import trained

        request, cache = self._prepared.request, self._prepared.out / "cache"
        key, begin = _key(recipe), time.monotonic()
        # others of the search may need the same module, or one that begins with the same step
        with store.alone(cache / f"train-{_key(recipe, 1)[:12]}.lock"):
            found = trained(
                find(request.model),
                recipe,
                self._prepared.training,
                teacher=find(request.teacher) if request.teacher else None,
                cache=cache,
                progress=self._prepared.progress,
            )
        self._seconds.setdefault(key, time.monotonic() - begin)
        return found.model, self._calibration(found.model)

    def expected_seconds(self, recipe: Recipe) -> float:
        """How long its module steps will take, from those before: nothing where they were done."""
        if not recipe.module_steps or _key(recipe) in self._seconds:
            return 0.0
        return max(self._seconds.values(), default=0.0)

    def _calibration(self, model: FloatModel) -> Calibration:
        if model.digest not in self._known:
            stem = self._prepared.out / "cache" / f"statistics-{model.digest[:16]}"
            self._known[model.digest] = Calibration(
                statistics=Observed(self._prepared, model, stem.with_suffix(".npz")),
                feeds=self._prepared.data.calibration.feeds,
                everywhere=Observed(
                    self._prepared, model, Path(f"{stem}-everywhere.npz"), is_uniform=True
                ),
            )
        return self._known[model.digest]


def _key(recipe: Recipe, count: int | None = None) -> str:
    """Tells module steps apart, all of them or the first few."""
    steps = [plugins.dump(step) for step in recipe.module_steps[:count]]
    return hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()
