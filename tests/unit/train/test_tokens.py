"""Student and teacher have to read the same tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gossamer.errors import InputError, TrainingError
from gossamer.train.tokens import check_same_tokens

WORDS = {"[PAD]": 0, "good": 1, "bad": 2}


def folder(path: Path, size: int | None = 3, **files: Any) -> Path:
    """A model folder with a config, and files whose names have `_` for the dot."""
    path.mkdir()
    config = {} if size is None else {"vocab_size": size}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return path


def fast(vocabulary: Any) -> dict[str, Any]:
    added = [{"id": 2, "content": "bad"}]
    return {"model": {"vocab": vocabulary}, "added_tokens": added}


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_json": fast({"[PAD]": 0, "good": 1})},
        {"tokenizer_json": fast([["[PAD]", 0.0], ["good", -1.5]])},
        {"vocab_txt": "[PAD]\ngood\nbad\n"},
        {"vocab_json": WORDS},
        {},
    ],
)
def test_the_same_tokens_pass_whatever_file_has_them(tmp_path: Path, files: Any) -> None:
    student = folder(tmp_path / "student", tokenizer_json=fast(WORDS))

    check_same_tokens(student, folder(tmp_path / "teacher", **files))


def test_another_number_of_tokens_is_refused(tmp_path: Path) -> None:
    pair = folder(tmp_path / "student"), folder(tmp_path / "teacher", size=5)

    with pytest.raises(TrainingError, match=r"received 3 tokens in .*student and 5 in .*teacher"):
        check_same_tokens(*pair)


def test_the_first_token_that_differs_is_named(tmp_path: Path) -> None:
    student = folder(tmp_path / "student", vocab_txt="[PAD]\ngood\nbad")
    teacher = folder(tmp_path / "teacher", vocab_txt="[PAD]\nbad\ngood")

    with pytest.raises(TrainingError, match=r"'good' as 1 in .*student and 2 in .*teacher"):
        check_same_tokens(student, teacher)


def test_a_token_of_the_teacher_alone_is_named(tmp_path: Path) -> None:
    student = folder(tmp_path / "student", vocab_json=WORDS)
    teacher = folder(tmp_path / "teacher", size=None, vocab_json={**WORDS, "ugly": 3})

    with pytest.raises(TrainingError, match=r"'ugly' as none in .*student and 3 in"):
        check_same_tokens(student, teacher)


@pytest.mark.parametrize("text", ["{", '{"model": {}}', '{"model": {"vocab": 3}}'])
def test_a_broken_tokenizer_is_named(tmp_path: Path, text: str) -> None:
    pair = folder(tmp_path / "student", tokenizer_json=text), folder(tmp_path / "teacher")

    with pytest.raises(InputError, match=r"tokenizer\.json"):
        check_same_tokens(*pair)


def test_a_folder_without_a_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="readable JSON in"):
        check_same_tokens(tmp_path, tmp_path)
