"""Perplexity of windows without padding."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from gossamer.errors import DataError, RecipeError
from gossamer.source import FloatModel
from gossamer.task import DataRequest
from gossamer.tasks import choose
from gossamer.tasks.causal_lm import CausalLm
from zoo.judged import model, tensor, write_tokenizer


def language_model(folder: Path | None = None, length: int | str = "sequence") -> FloatModel:
    ids = tensor("input_ids", "batch", length, dtype="int64")
    return model(ids, outputs=(tensor("logits", "batch", length, 15),), folder=folder)


def begins_texts(folder: Path) -> None:
    """Let the tokenizer begin texts with [CLS], and end them with nothing."""
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    document["post_processor"]["single"] = document["post_processor"]["single"][:2]
    path.write_text(json.dumps(document))


def windows(opened: FloatModel, path: Path, length: int = 4) -> set[tuple[int, ...]]:
    data = CausalLm(length=length).open(DataRequest(model=opened, path=path))
    splits = (data.calibration, data.search, data.report)
    return {tuple(feed["input_ids"][0].tolist()) for split in splits for feed in split.feeds()}


def test_a_text_is_cut_into_windows_without_a_token_twice(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "a.txt").write_text("a b c d good bad dull fine film play . a b c d good bad")
    opened = language_model(write_tokenizer(tmp_path / "model"))
    assert windows(opened, tmp_path / "a.txt") == {
        (4, 5, 6, 7), (8, 9, 10, 11), (12, 13, 14, 4), (5, 6, 7, 8)
    }  # the last token alone tells nothing  # fmt: skip


def test_a_token_that_begins_texts_begins_every_window(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "a.txt").write_text("a b c d good bad dull fine film play .")
    folder = write_tokenizer(tmp_path / "model")
    begins_texts(folder)
    assert windows(language_model(folder), tmp_path / "a.txt") == {
        (2, 4, 5, 6), (2, 7, 8, 9), (2, 10, 11, 12), (2, 13, 14)
    }  # fmt: skip


def test_a_model_of_fixed_length_gets_whole_windows_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(11), two=np.arange(8))
    found = windows(language_model(length=3), tmp_path / "a.npz")
    assert found == {(0, 1, 2), (3, 4, 5), (6, 7, 8)}


@pytest.mark.parametrize("key", ["max_position_embeddings", "n_positions"])
def test_no_window_is_longer_than_the_model_has_positions_for(key: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({key: 5}))
    np.savez(tmp_path / "a.npz", one=np.arange(40))
    found = windows(language_model(tmp_path), tmp_path / "a.npz", length=256)
    assert {len(window) for window in found} == {5}


def test_perplexity_is_that_of_the_likelihoods() -> None:
    task, label = CausalLm(), (3, 1, 0)
    odds = np.array([[1, 2, 1, 4], [5, 1, 1, 1], [1, 1, 1, 1]], np.float32)
    row = task.row({"logits": np.log(odds)[None]}, label, None)
    wanted = -math.log(2 / 8) - math.log(5 / 8)
    np.testing.assert_allclose(row, [wanted, 2, 1], rtol=1e-6)
    twice = np.stack([row, row])
    assert task.score(twice) == pytest.approx(math.exp(wanted / 2))
    assert task.metrics(twice)["next_token_accuracy"] == 0.5


def test_a_model_that_knows_nothing_is_lost_among_all_tokens() -> None:
    task = CausalLm()
    row = task.row({"logits": np.zeros((1, 5, 15), np.float32)}, (1, 2, 3, 4, 5), None)
    assert task.score(row[None]) == pytest.approx(15)


def test_the_configuration_of_a_language_model_names_the_task() -> None:
    opened = model(tensor("input_ids", "batch", "sequence", dtype="int64"), task="causal-lm")
    assert choose(None, opened, {}) == CausalLm()
    assert choose(None, opened, {"length": 64}) == CausalLm(length=64)


@pytest.mark.parametrize(
    ("arrays", "received"),
    [
        ({"a": np.zeros((3, 4), np.float32)}, "float32 of shape"),
        ({"a": np.zeros((3, 4, 5), np.int64)}, r"int64 of shape \(4, 5\)|shape \(3, 4, 5\)"),
        ({"a": np.array([1, -1, 2])}, "int64 of shape"),
    ],
)
def test_arrays_that_are_no_tokens_are_refused(
    arrays: dict[str, np.ndarray], received: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=received):
        windows(language_model(), tmp_path / "a.npz")


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(40))
    with pytest.raises(DataError, match=r"takes input_ids.*x.*--task fidelity"):
        windows(model(), tmp_path / "a.npz")
    extra = model(
        tensor("input_ids", "batch", "sequence", dtype="int64"), tensor("images", "batch", 3, 8, 8)
    )
    with pytest.raises(DataError, match=r"images"):
        windows(extra, tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"\[1, 3, vocabulary\].*logits \[1, 15\]"):
        CausalLm().row({"logits": np.zeros((1, 15), np.float32)}, (1, 2, 3), None)
    with pytest.raises(DataError, match=r"below 15.*40"):
        CausalLm().row({"logits": np.zeros((1, 3, 15), np.float32)}, (1, 2, 40), None)


def test_texts_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    opened = language_model(write_tokenizer(tmp_path / "model"))
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="UTF-8"):
        windows(opened, tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(DataError, match="some tokens"):
        windows(opened, tmp_path / "a.txt")
    with pytest.raises(RecipeError, match="at least 2 tokens"):
        CausalLm(length=1)
