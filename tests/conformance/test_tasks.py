"""Every task of the family keeps the promises that search and report build on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.errors import DataError, MeasureError
from gossamer.source import FloatModel
from gossamer.task import DataRequest, Label, Split, Task, TaskData
from zoo.judged import (
    image_model,
    model,
    tensor,
    text_model,
    write_arrays,
    write_images,
    write_texts,
    write_tokenizer,
)

NAMES = plugins.names("tasks")


@dataclass(frozen=True)
class Case:
    """Data that suits a task, and a model that fits it.

    Attributes:
        other: Rows of the same kind elsewhere, for calibration.
    """

    model: FloatModel
    path: Path
    other: Path


def arrays(folder: Path) -> Case:
    path = write_arrays(folder / "a.npz", count=21)
    return Case(model(), path, write_arrays(folder / "b.npz", count=9))


def images(folder: Path) -> Case:
    path = write_images(folder / "a", ("a", "b", "c"), count=7)
    return Case(image_model(), path, write_images(folder / "b", ("a", "b"), count=3))


def texts(folder: Path) -> Case:
    pytest.importorskip("tokenizers")
    path = write_texts(folder / "a.tsv", count=21)
    signature = text_model(write_tokenizer(folder / "model"), classes=3)
    return Case(signature, path, write_texts(folder / "b.tsv", count=9))


def tokens(folder: Path) -> Case:
    names = ("input_ids", "attention_mask", "position_ids")
    inputs = [tensor(n, "batch", "sequence", dtype="int64") for n in names]
    past = tensor("past_key_values.0.key", "batch", 2, "past_sequence", 4)
    signature = model(*inputs, past, outputs=(tensor("logits", "batch", "sequence", 3),))
    rng = np.random.default_rng(0)
    paths = folder / "a.npz", folder / "b.npz"
    for path, count in zip(paths, (21, 9), strict=True):
        np.savez(path, documents=rng.integers(0, 3, (count, 7)))
    return Case(signature, *paths)


CASES: dict[str, Callable[[Path], Case]] = {
    "causal-lm": tokens,
    "classification": arrays,
    "fidelity": arrays,
    "image-classification": images,
    "text-classification": texts,
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(name: str, tmp_path: Path) -> Case:
    return CASES[name](tmp_path)


@pytest.fixture
def task(name: str, case: Case) -> Task:
    found: Task = plugins.parse("tasks", name).resolved(case.model)
    return found


@pytest.fixture
def data(task: Task, case: Case) -> TaskData:
    return task.open(DataRequest(model=case.model, path=case.path))


def splits(data: TaskData) -> tuple[Split, Split, Split]:
    return data.calibration, data.search, data.report


def identities(split: Split) -> set[tuple[int, int]]:
    return {(id(split.samples), i) for i in split.indices}


def answers(label: Label) -> NDArray[np.float32]:
    """Logits of a model that is right."""
    if isinstance(label, tuple):  # of every next token
        return np.eye(3, dtype=np.float32)[None, [*label[1:], 0]]
    return np.eye(3, dtype=np.float32)[[int(label or 0)]]


def rows(task: Task, split: Split) -> NDArray[np.float64]:
    """Rows of a model that answers at random, but the same for the same place in the split."""
    found = []
    for i, (_, label) in enumerate(split.rows()):
        rng = np.random.default_rng(i)
        shape = answers(label).shape
        wanted = {"logits": rng.standard_normal(shape).astype(np.float32)}
        noise = rng.standard_normal(shape).astype(np.float32)
        outputs = {"logits": wanted["logits"] + np.float32(0.01) * noise}
        found.append(task.row(outputs, label, wanted if task.needs_reference else None))
    return np.stack(found)


def test_every_task_has_a_case() -> None:
    assert set(NAMES) == set(CASES), "a new task needs data in CASES"


def test_splits_are_disjoint_and_leave_nothing_out(data: TaskData) -> None:
    parts = [identities(split) for split in splits(data)]

    assert len(set.union(*parts)) == sum(map(len, parts)) == 21
    assert [len(part) for part in parts] == [10, 5, 6]


def test_the_same_seed_gives_the_same_splits_and_another_one_others(task: Task, case: Case) -> None:
    def indices(seed: int) -> list[tuple[int, ...]]:
        request = DataRequest(model=case.model, path=case.path, seed=seed)
        return [split.indices for split in splits(task.open(request))]

    assert indices(4) == indices(4)
    assert indices(4) != indices(5)


def test_calibration_data_of_its_own_is_used_for_calibration_alone(task: Task, case: Case) -> None:
    request = DataRequest(model=case.model, path=case.path, calibration_path=case.other)

    data = task.open(request)

    assert identities(data.calibration).isdisjoint(identities(data.search))
    assert len(data.search) + len(data.report) == 21
    assert data.files == (case.path, case.other)


def test_calibration_data_that_judges_too_is_refused(task: Task, case: Case) -> None:
    request = DataRequest(model=case.model, path=case.path, calibration_path=case.path)

    with pytest.raises(DataError, match="apart from the data that judges"):
        task.open(request)


def test_a_feed_has_exactly_the_models_inputs_in_their_type(data: TaskData, case: Case) -> None:
    feed = next(data.search.feeds())

    assert set(feed) == {t.name for t in case.model.inputs}
    for wanted in case.model.inputs:
        assert wanted.shape is not None
        x = feed[wanted.name]
        assert x.dtype == np.dtype(wanted.dtype)
        assert x.ndim == len(wanted.shape)
        assert x.shape[0] == 1
        assert x.flags.c_contiguous


def test_a_row_is_read_again_to_the_bit(data: TaskData) -> None:
    first, again = (data.search.samples.feed(data.search.indices[0]) for _ in range(2))

    assert {k: v.tobytes() for k, v in first.items()} == {k: v.tobytes() for k, v in again.items()}


def test_rows_have_one_length_and_are_numbers(task: Task, data: TaskData) -> None:
    found = rows(task, data.report)

    assert found.dtype == np.float64
    assert found.ndim == 2
    assert np.isfinite(found).all()


def test_a_score_can_be_computed_from_any_resampling(task: Task, data: TaskData) -> None:
    found = rows(task, data.report)
    rng = np.random.default_rng(0)

    scores = [task.score(found[rng.integers(0, len(found), len(found))]) for _ in range(50)]

    assert np.isfinite(scores).all()
    assert task.score(found) == pytest.approx(task.score(found[::-1]))
    assert task.score(np.concatenate([found, found])) == pytest.approx(task.score(found))


def test_metrics_hold_the_score_and_are_finite(task: Task, data: TaskData) -> None:
    found = rows(task, data.report)
    metrics = task.metrics(found)

    assert metrics[task.metric_name] == task.score(found)
    assert np.isfinite(list(metrics.values())).all()
    assert all(isinstance(value, float) for value in metrics.values())


def test_a_model_that_is_right_scores_better_than_one_that_is_wrong(
    task: Task, data: TaskData
) -> None:
    right, wrong = [], []
    for _, label in data.report.rows():
        answer = {"logits": answers(label)}
        other = {"logits": np.roll(answers(label), 1, axis=-1)}
        right.append(task.row(answer, label, answer))
        wrong.append(task.row(other, label, answer))

    better = task.score(np.stack(right)) - task.score(np.stack(wrong))

    assert (better > 0) is task.higher_is_better


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_refused(task: Task, data: TaskData, value: float) -> None:
    outputs = {"logits": np.array([[0.0, value, 1.0]], np.float32)}
    label = data.report.samples.label(data.report.indices[0])

    with pytest.raises(MeasureError, match="NaN or Inf"):
        task.row(outputs, label, {"logits": np.ones((1, 3), np.float32)})


def test_data_that_is_not_there_is_refused_with_all_three_parts(task: Task, case: Case) -> None:
    with pytest.raises(DataError) as caught:
        task.open(DataRequest(model=case.model, path=Path("no-such-folder") / "data"))

    assert caught.value.needed
    assert "no-such-folder" in caught.value.received
    assert caught.value.hint


def test_an_empty_folder_is_refused(task: Task, case: Case, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match="empty"):
        task.open(DataRequest(model=case.model, path=tmp_path / "empty"))


def test_without_data_inputs_are_made_up_and_said_to_be_or_data_is_asked_for(
    task: Task, case: Case
) -> None:
    request = DataRequest(model=case.model)
    try:
        data = task.open(request)
    except DataError as error:
        assert "--data" in error.hint  # noqa: PT017 - one of two right answers
    else:
        assert data.synthetic
        assert not data.files


def test_data_of_the_user_is_not_synthetic(data: TaskData, case: Case) -> None:
    assert not data.synthetic
    assert data.files == (case.path,)


def test_the_default_budget_is_written_as_a_user_would(task: Task) -> None:
    assert re.fullmatch(r"\d+(\.\d+)?(%|pt|abs)", task.default_drop)


def test_every_option_has_a_default_and_a_description(task: Task) -> None:
    text = type(task).__doc__ or ""

    for field in dataclasses.fields(task):
        assert field.default is not dataclasses.MISSING
        assert f"{field.name}: " in text
