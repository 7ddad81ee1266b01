"""Scores row by row, references on disk, drops and paired intervals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from gossamer.errors import MeasureError, StorageError
from gossamer.measure.isolate import Isolated
from gossamer.measure.score import (
    References,
    drop,
    paired_interval,
    score,
    score_baseline,
)
from gossamer.progress import Silent
from gossamer.runtime import Feed, Session
from gossamer.runtimes.ort import Ort
from gossamer.task import DataRequest, Label, Samples, Split, Task, TaskData
from zoo import runnable


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy(Task):
    """Share of rows whose largest output is the label."""

    metric_name: ClassVar[str] = "accuracy"  # type: ignore[misc]

    def open(self, request: DataRequest) -> TaskData:
        raise NotImplementedError

    def row(self, outputs: Feed, label: Label, reference: Feed | None) -> NDArray[np.float64]:
        assert reference is None
        return np.array([float(outputs["logits"].argmax() == label)])

    def score(self, rows: NDArray[np.float64]) -> float:
        return float(rows[:, 0].mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise(Accuracy):
    """Noise power over signal power, against the float model; lower is better."""

    needs_reference: ClassVar[bool] = True
    metric_name: ClassVar[str] = "noise"  # type: ignore[misc]
    higher_is_better: ClassVar[bool] = False  # type: ignore[misc]

    def row(self, outputs: Feed, label: Label, reference: Feed | None) -> NDArray[np.float64]:
        assert reference is not None
        difference = outputs["logits"] - reference["logits"]
        return np.array([np.square(difference).sum(), np.square(reference["logits"]).sum()])

    def score(self, rows: NDArray[np.float64]) -> float:
        noise, signal = rows.sum(axis=0)
        return float(noise / signal)


class Points(Samples):
    """Twenty points of the plane; the label is what the model should say."""

    def __init__(self) -> None:
        self._x = np.random.default_rng(0).standard_normal((20, 1, 2)).astype(np.float32)

    def __len__(self) -> int:
        return 20

    def feed(self, index: int) -> Feed:
        return {"x": self._x[index]}

    def label(self, index: int) -> Label:
        truth = int(runnable.affine_by_hand(self.feed(index)).argmax())
        return truth if index % 5 else -1


class Counted(Silent):
    steps = 0

    def advance(self, n: int = 1) -> None:
        self.steps += n


@pytest.fixture
def split() -> Split:
    return Split(samples=Points(), indices=(1, 3, 5, 6, 7, 10, 12, 19))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Ort().open(runnable.affine(tmp_path), threads=1)


class Coarse:
    """A session whose outputs are rounded, as a quantized model's are."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feed: Feed) -> Feed:
        return {name: np.round(x, 1) for name, x in self._session.run(feed).items()}


def test_every_row_of_the_split_is_scored_in_order(session: Session, split: Split) -> None:
    counted = Counted()

    scored = score(session, Accuracy(), split, progress=counted)

    assert scored.rows[:, 0].tolist() == [float(bool(i % 5)) for i in split.indices]
    assert scored.value == 6 / 8
    assert scored.metrics == {"accuracy": 6 / 8}
    assert counted.steps == len(split)


def test_a_child_scores_as_its_parent_would(session: Session, split: Split, tmp_path: Path) -> None:
    with Isolated("ort", runnable.affine(tmp_path), threads=1) as isolated:
        there = score(isolated, Accuracy(), split)

    assert np.array_equal(there.rows, score(session, Accuracy(), split).rows)


def test_the_baseline_has_no_noise_against_itself(
    session: Session, split: Split, tmp_path: Path
) -> None:
    scored = score_baseline(session, Noise(), split, References(tmp_path / "references"))

    assert scored.value == 0
    assert (scored.rows[:, 1] > 0).all()


def test_a_candidate_is_compared_with_the_outputs_on_disk(
    session: Session, split: Split, tmp_path: Path
) -> None:
    references = References(tmp_path / "references")
    score_baseline(session, Noise(), split, references)

    scored = score(Coarse(session), Noise(), split, references)

    assert 0 < scored.value < 0.05  # rounded to a tenth, of values around one
    assert sorted(p.name for p in references.folder.iterdir()) == sorted(
        f"{i}.ref" for i in split.indices
    )


def test_rows_that_a_killed_run_left_are_not_computed_again(
    session: Session, split: Split, tmp_path: Path
) -> None:
    references = References(tmp_path / "references")
    score_baseline(session, Noise(), split, references)
    references.folder.joinpath("5.ref").unlink()
    others = {p.name: p.stat().st_mtime_ns for p in references.folder.iterdir()}

    again = score_baseline(session, Noise(), split, references)

    assert again.value == 0
    assert {n: (references.folder / n).stat().st_mtime_ns for n in others} == others
    assert 5 in references


def test_a_baseline_without_need_of_references_writes_none(
    session: Session, split: Split, tmp_path: Path
) -> None:
    references = References(tmp_path / "references")

    scored = score_baseline(session, Accuracy(), split, references)

    assert scored.value == 6 / 8
    assert not references.folder.exists()


def test_a_row_without_reference_names_the_sample(
    session: Session, split: Split, tmp_path: Path
) -> None:
    with pytest.raises(MeasureError, match=r"outputs for sample 1;.*Score the baseline"):
        score(session, Noise(), split, References(tmp_path))


def test_a_task_that_compares_needs_references(session: Session, split: Split) -> None:
    for scored in (score, score_baseline):
        with pytest.raises(MeasureError, match="folder with the float model's outputs"):
            scored(session, Noise(), split)


def test_a_damaged_reference_is_told_with_its_path(tmp_path: Path) -> None:
    references = References(tmp_path)
    references.put(4, {"y": np.ones(9)})
    path = tmp_path / "4.ref"
    path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(StorageError, match=r"4\.ref.*Delete it"):
        references.get(4)


def test_references_that_cannot_be_written_are_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="room and permission to write"):
        References(tmp_path / "file").put(0, {"y": np.ones(1)})


def test_an_empty_split_has_no_score(session: Session) -> None:
    with pytest.raises(MeasureError, match="a split with samples"):
        score(session, Accuracy(), Split(samples=Points(), indices=()))


@pytest.mark.parametrize(
    ("task", "baseline", "value", "worse"), [(Accuracy(), 0.9, 0.8, 0.1), (Noise(), 0.1, 0.3, 0.2)]
)
def test_a_drop_is_positive_when_it_is_worse(
    task: Task, baseline: float, value: float, worse: float
) -> None:
    assert drop(task, baseline, value) == pytest.approx(worse)
    assert drop(task, value, baseline) == pytest.approx(-worse)


def test_the_interval_of_a_share_is_the_one_of_its_paired_differences() -> None:
    random = np.random.default_rng(0)
    baseline = (random.random((1000, 1)) < 0.9).astype(float)
    rows = baseline.copy()
    rows[random.permutation(1000)[:100]] = 0  # about 90 of them were right

    low, high = paired_interval(Accuracy(), baseline, rows, seed=1)

    lost = baseline.mean() - rows.mean()
    error = np.std(baseline - rows) / np.sqrt(1000)
    assert (low, high) == pytest.approx((lost - 1.96 * error, lost + 1.96 * error), abs=0.003)
    # unpaired it would be three times the width of what the few changed rows allow
    assert high - low < 0.04


def test_the_same_rows_have_no_drop_at_all() -> None:
    rows = np.random.default_rng(0).random((50, 1))

    assert paired_interval(Accuracy(), rows, rows) == (0, 0)


def test_an_infinite_drop_stays_infinite_and_is_no_nan() -> None:
    class Bounded(Accuracy):
        def score(self, rows: NDArray[np.float64]) -> float:
            return -np.inf if np.isnan(rows).any() else float(rows.mean())

    baseline = np.ones((30, 1))
    rows = baseline.copy()
    rows[:10] = np.nan

    assert paired_interval(Bounded(), baseline, rows) == (np.inf, np.inf)


def test_resamples_without_a_score_do_not_count() -> None:
    class Picky(Accuracy):
        def score(self, rows: NDArray[np.float64]) -> float:
            return float(rows.mean()) if 0 < rows.sum() < len(rows) else np.nan

    mixed = np.array([[1.0], [0.0], [0.0], [0.0]])

    assert paired_interval(Picky(), mixed, mixed) == (0, 0)
    with pytest.raises(MeasureError, match="rows without any score"):
        paired_interval(Picky(), mixed * 0, mixed * 0)


def test_rows_of_different_splits_have_no_interval() -> None:
    with pytest.raises(MeasureError, match="received 4 and 3 rows"):
        paired_interval(Accuracy(), np.ones((4, 1)), np.ones((3, 1)))
