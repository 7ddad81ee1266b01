"""Texts are tokenized for the inputs that the model has, one row at a time."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.errors import DataError, MeasureError, MissingDependency, RecipeError
from gossamer.task import DataRequest, TaskData
from gossamer.tasks.text_classification import TextClassification
from zoo.judged import model, tensor, text_model, write_texts, write_tokenizer

pytest.importorskip("tokenizers")


def opened(path: Path, signature: Any, **options: Any) -> TaskData:
    task = TextClassification(**options).resolved(signature)
    return task.open(DataRequest(model=signature, path=path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "model")


def first(data: TaskData) -> dict[str, Any]:
    return {k: v.tolist() for k, v in data.search.samples.feed(0).items()}


def test_a_text_becomes_tokens_mask_and_types(tmp_path: Path, folder: Path) -> None:
    data = opened(write_texts(tmp_path / "a.tsv"), text_model(folder))

    assert first(data) == {
        "input_ids": [[2, 4, 9, 12, 1, 3]],  # [CLS] a bad film [UNK] [SEP]
        "attention_mask": [[1] * 6],
        "token_type_ids": [[0] * 6],
    }
    assert [data.search.samples.label(i) for i in range(4)] == [0, 1, 0, 1]
    assert dict(data.description)["columns"] == "text=0,label=1"


def test_a_pair_has_two_token_types(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "a.tsv").write_text("".join(f"a b\tc d\t{i % 2}\n" for i in range(8)))

    data = opened(tmp_path / "a.tsv", text_model(folder), columns="text=0,pair=1,label=2")

    assert first(data)["input_ids"] == [[2, 4, 5, 3, 6, 7, 3]]
    assert first(data)["token_type_ids"] == [[0, 0, 0, 0, 1, 1, 1]]


def test_only_inputs_that_the_model_has_are_fed_in_their_type(tmp_path: Path, folder: Path) -> None:
    signature = model(
        tensor("position_ids", 1, "s", dtype="int32"),
        tensor("input_ids", 1, "s", dtype="int32"),
        folder=folder,
    )

    feed = opened(write_texts(tmp_path / "a.tsv"), signature).search.samples.feed(0)

    assert list(feed) == ["position_ids", "input_ids"]
    assert feed["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5]]
    assert {x.dtype for x in feed.values()} == {np.dtype(np.int32)}


def test_long_texts_are_cut(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "a.tsv").write_text("".join(f"{'a ' * 200}\t{i % 2}\n" for i in range(8)))
    signature = text_model(folder)

    asked = opened(tmp_path / "a.tsv", signature, length=5)
    most = opened(tmp_path / "a.tsv", signature)

    assert first(asked)["input_ids"] == [[2, 4, 4, 4, 3]]
    assert len(first(most)["input_ids"][0]) == 64  # the tokenizer's own limit


def test_a_model_of_fixed_length_gets_padding(tmp_path: Path, folder: Path) -> None:
    names = ("input_ids", "attention_mask")
    signature = model(*(tensor(n, 1, 8, dtype="int64") for n in names), folder=folder)

    assert first(opened(write_texts(tmp_path / "a.tsv"), signature)) == {
        "input_ids": [[2, 4, 9, 12, 1, 3, 0, 0]],
        "attention_mask": [[1, 1, 1, 1, 1, 1, 0, 0]],
    }


def test_labels_in_words_are_numbered_as_the_model_does(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model", label2id={"pos": 0, "NEG": 1})
    (tmp_path / "a.tsv").write_text("".join(f"a b {i}\t{'neg' if i % 2 else 'pos'}\n"
                                            for i in range(8)))  # fmt: skip

    data = opened(tmp_path / "a.tsv", text_model(folder))

    assert [data.search.samples.label(i) for i in range(2)] == [0, 1]


def test_labels_in_words_that_the_model_does_not_know_are_in_order(
    tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "a.tsv").write_text("".join(f"a b {i}\t{'no' if i % 2 else 'yes'}\n"
                                            for i in range(8)))  # fmt: skip

    data = opened(tmp_path / "a.tsv", text_model(folder))

    assert ("classes", "no=0, yes=1") in data.description


def test_train_and_validation_files_are_two_places(tmp_path: Path, folder: Path) -> None:
    write_texts(tmp_path / "train.tsv", count=20)
    write_texts(tmp_path / "validation.tsv", count=6)

    data = opened(tmp_path, text_model(folder))

    assert [len(s) for s in (data.calibration, data.search, data.report)] == [10, 10, 6]


def test_a_model_of_one_number_is_judged_by_spearman(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "a.tsv").write_text("".join(f"a b\tc d\t{i / 2}\n" for i in range(8)))
    signature = text_model(folder, classes=1)
    task = TextClassification().resolved(signature)

    data = task.open(DataRequest(model=signature, path=tmp_path / "a.tsv"))

    assert task.metric_name == "spearman"
    assert data.search.samples.label(3) == 1.5
    assert TextClassification(metric="f1").resolved(signature).metric_name == "f1"
    assert TextClassification().resolved(text_model(folder)).metric_name == "accuracy"


def test_a_regression_is_known_by_its_configuration(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, problem_type="regression")

    assert TextClassification().resolved(text_model(folder, 3)).metric_name == "spearman"


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("accuracy", 0.6), ("f1", 2 / 3), ("matthews", 1 / 6)],
)
def test_a_metric_is_computed_from_predictions_and_labels(metric: Any, expected: float) -> None:
    task = TextClassification(metric=metric)
    pairs = [(1, 1), (1, 1), (1, 0), (0, 1), (0, 0)]
    rows = np.stack([task.row({"z": np.eye(2)[[p]]}, label, None) for p, label in pairs])

    assert task.score(rows) == pytest.approx(expected)
    assert set(task.metrics(rows)) == {"accuracy", "f1", "matthews"}


def test_spearman_compares_orders() -> None:
    task = TextClassification(metric="spearman")
    pairs = [(0.1, 1.0), (0.5, 2.0), (0.3, 3.0)]
    rows = np.stack([task.row({"z": np.array([[p]])}, label, None) for p, label in pairs])

    assert task.score(rows) == pytest.approx(0.5)
    assert set(task.metrics(rows)) == {"spearman", "pearson"}


def test_spearman_needs_one_number() -> None:
    with pytest.raises(DataError, match="one number per sample"):
        TextClassification(metric="spearman").row({"z": np.zeros((1, 2))}, 1.0, None)


def test_an_output_that_is_not_finite_fails_the_candidate() -> None:
    for metric in ("accuracy", "spearman"):
        task = TextClassification(metric=metric)  # type: ignore[arg-type]
        with pytest.raises(MeasureError, match="NaN or Inf"):
            task.row({"z": np.array([[np.nan, 1.0]])}, 1, None)


def test_a_label_beyond_the_models_classes_is_refused() -> None:
    with pytest.raises(DataError, match="the label 2"):
        TextClassification().row({"z": np.zeros((1, 2))}, 2, None)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ("0 1 -1 0", {}, "the label -1"),
        ("0.5 1 1 0", {}, "--metric spearman"),
        ("1 1 1 1", {"columns": "text=0,label=1"}, "two different labels"),
        ("a b a b", {"metric": "spearman", "columns": "text=0,label=1"}, "a number in every row"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, folder: Path, labels: str, options: Any, message: str
) -> None:
    lines = [f"a text {i}\t{label}" for i, label in enumerate(labels.split())]
    (tmp_path / "a.tsv").write_text("\n".join(lines))

    with pytest.raises(DataError, match=message):
        opened(tmp_path / "a.tsv", text_model(folder), **options)


def test_a_row_without_a_label_is_named(tmp_path: Path, folder: Path) -> None:
    lines = [json.dumps({"text": "a", "label": i % 2}) for i in range(6)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"text": "b"}']))

    with pytest.raises(DataError, match="'' in row 7"):
        opened(tmp_path / "a.jsonl", text_model(folder))


def test_texts_that_are_lists_are_refused(tmp_path: Path, folder: Path) -> None:
    lines = [json.dumps({"text": ["a"], "label": i % 2}) for i in range(6)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    with pytest.raises(DataError, match="nothing but empty cells"):
        opened(tmp_path / "a.jsonl", text_model(folder))


def test_a_folder_of_other_files_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="call the files train and test"):
        opened(tmp_path, text_model(folder))


def test_a_model_file_alone_has_no_tokenizer(tmp_path: Path) -> None:
    signature = model(tensor("input_ids", 1, "s", dtype="int64"))

    with pytest.raises(DataError, match="a Hugging Face folder with model and tokenizer"):
        opened(write_texts(tmp_path / "a.tsv"), signature)


def test_a_tokenizer_that_cannot_be_read_is_refused(tmp_path: Path, folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(DataError, match=r"tokenizer\.json"):
        opened(write_texts(tmp_path / "a.tsv"), text_model(folder))


@pytest.mark.torch
def test_a_folder_without_a_tokenizer_says_what_is_needed(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{}")

    with pytest.raises(DataError, match="a tokenizer beside the model"):
        opened(write_texts(tmp_path / "a.tsv"), text_model(tmp_path))


def test_inputs_that_do_not_come_from_text_are_refused(tmp_path: Path, folder: Path) -> None:
    ids, pixels = (tensor(n, 1, "s", dtype="int64") for n in ("input_ids", "pixels"))

    with pytest.raises(DataError, match="a model that takes input_ids"):
        opened(write_texts(tmp_path / "a.tsv"), model(ids, pixels, folder=folder))


def test_without_the_tokenizers_package_the_extra_is_named(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.import_module

    def missing(name: str) -> Any:
        if name == "tokenizers":
            raise ImportError(name)
        return known(name)

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(MissingDependency, match=r"gossamer\[hf\]"):
        opened(write_texts(tmp_path / "a.tsv"), text_model(folder))


@pytest.mark.parametrize("options", [{"length": 2}, {"columns": "text"}])
def test_options_are_checked_before_any_file_is_opened(options: Any) -> None:
    with pytest.raises(RecipeError):
        TextClassification(**options)
