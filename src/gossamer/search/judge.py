"""Scores of models on the rows of one split, with the noise in their outputs from the same runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.diagnosis import decibel
from gossamer.measure.noise import Powers
from gossamer.measure.score import References, score

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from gossamer.measure.isolate import Isolated, Successive
    from gossamer.measurement import ScoreRows
    from gossamer.runtime import Feed, Precision
    from gossamer.search.prepare import Prepared
    from gossamer.source import TensorType
    from gossamer.task import Split


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What one model scored.

    Attributes:
        scored: By the task.
        sqnr_db: Of the worst float output against the float model's.
    """

    scored: ScoreRows
    sqnr_db: float


class Judge:
    """Scores models on `split`; the float model first, whose outputs are kept on disk.

    Attributes:
        prepared: The request.
        split: The rows.
        process: Where models run, one after the other.
        runtime: Name of their runtime.
        float_score: The float model's.
    """

    def __init__(self, prepared: Prepared, split: Split, folder: Path, process: Successive) -> None:
        self.prepared = prepared
        self.split = split
        self.process = process
        self.runtime = process.runtime
        self._references = References(folder)
        self.float_score = self._score(prepared.model.path, "f32", is_float=True).scored

    def score(self, path: Path, precision: Precision = "default") -> Judged:
        """What the model in `path` scores.

        Raises:
            BuildError: The runtime refuses the file.
            MeasureError: It cannot be run, or gives something that has no score.
        """
        return self._score(path, precision, is_float=False)

    def _score(self, path: Path, precision: Precision, *, is_float: bool) -> Judged:
        prepared, powers = self.prepared, Powers()
        session = self.process.open(path, precision)
        listening = _Listening(session, self._references, self.split, powers, is_float)
        scored = score(listening, prepared.task, self.split, self._references)
        return Judged(scored=scored, sqnr_db=decibel(1.0, powers.worst()))


class _Listening:
    """A session that compares its outputs with those of the float model, or keeps them as such."""

    def __init__(
        self, session: Isolated, references: References, split: Split, powers: Powers, keeps: bool
    ) -> None:
        self.inputs: tuple[TensorType, ...] = session.inputs
        self.outputs: tuple[TensorType, ...] = session.outputs
        self._session = session
        self._references = references
        self._indices: Iterator[int] = iter(split.indices)
        self._powers = powers
        self._keeps = keeps

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Feed:
        outputs, index = self._session.run(feed), next(self._indices)
        if self._keeps:
            self._references.put(index, outputs)
        self._powers.add(self._references.get(index), outputs)
        return outputs
