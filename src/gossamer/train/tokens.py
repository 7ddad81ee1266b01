"""Whether two language models read the same tokens, as a teacher and its student have to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import InputError, TrainingError

if TYPE_CHECKING:
    from torch import nn

HINT = (
    "Choose a teacher with the student's tokenizer; rows that only pad the embeddings of one of "
    "them can be made equal with model.resize_token_embeddings(n)."
)


def check_same_tokens(student: str | Path, teacher: str | Path) -> None:
    """Compare the vocabularies of two Hugging Face folders; nothing is loaded but their text files.

    `vocab_size` of `config.json` must be the same, and where both have a tokenizer (its
    `tokenizer.json`, `vocab.txt` or `vocab.json`), every token must have the same id.

    Raises:
        TrainingError: They differ.
        InputError: A file cannot be read.
    """
    folders = Path(student), Path(teacher)
    sizes = [_size(_read(folder / "config.json")) for folder in folders]
    if sizes[0] != sizes[1] and None not in sizes:
        raise TrainingError(
            "one vocabulary in student and teacher",
            f"{sizes[0]} tokens in {folders[0]} and {sizes[1]} in {folders[1]}",
            HINT,
        )
    mine, theirs = (_vocabulary(folder) for folder in folders)
    if mine is None or theirs is None or mine == theirs:
        return
    other = min(
        (t for t in {*mine, *theirs} if mine.get(t) != theirs.get(t)),
        key=lambda t: (mine.get(t, len(mine)), t),
    )
    raise TrainingError(
        "the same id for every token in student and teacher",
        f"{other!r} as {_id(mine, other)} in {folders[0]} and {_id(theirs, other)} in {folders[1]}",
        HINT,
    )


def check_same_embeddings(student: nn.Module, teacher: nn.Module) -> None:
    """Compare how many tokens the embeddings of two transformers models have; others pass.

    Raises:
        TrainingError: They differ, so that an id of one may be missing in the other.
    """
    mine, theirs = _embeddings(student), _embeddings(teacher)
    if mine is not None and theirs is not None and mine != theirs:
        raise TrainingError(
            "one vocabulary in student and teacher",
            f"embeddings of {mine} tokens in the student and of {theirs} in the teacher",
            HINT,
        )


def _embeddings(model: nn.Module) -> int | None:
    """Rows of the token embeddings; None for what reads no tokens, or does not say."""
    getter = getattr(model, "get_input_embeddings", None)
    try:
        count = getattr(getter(), "num_embeddings", None) if callable(getter) else None
    except RuntimeError:  # how transformers models say that they read something else
        return None
    return count if isinstance(count, int) else None


def _size(config: Any) -> int | None:
    """Tokens of a config, which models of text and images keep one level deeper."""
    if not isinstance(config, dict):
        return None
    found = config.get("vocab_size", (config.get("text_config") or {}).get("vocab_size"))
    return found if isinstance(found, int) else None


def _vocabulary(folder: Path) -> dict[str, int] | None:
    """Ids by token; None for a folder without a tokenizer that is read here."""
    if (whole := folder / "tokenizer.json").is_file():
        content = _read(whole)
        try:
            vocab = content["model"]["vocab"]
            if isinstance(vocab, list):  # unigram: [token, score]
                vocab = {token: i for i, (token, _) in enumerate(vocab)}
            return {**vocab, **{t["content"]: t["id"] for t in content.get("added_tokens", ())}}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"a tokenizer with a vocabulary in {whole}",
                repr(error),
                "Save the tokenizer again with save_pretrained.",
            ) from error
    if (lines := folder / "vocab.txt").is_file():
        try:
            text = lines.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(
                f"a token in each line of {lines}",
                str(error),
                "Save the tokenizer again with save_pretrained.",
            ) from error
        return {token: i for i, token in enumerate(text.removesuffix("\n").split("\n"))}
    if (plain := folder / "vocab.json").is_file():
        return dict(_read(plain))
    return None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"readable JSON in {path}", str(error), "Save the tokenizer again with save_pretrained."
        ) from error


def _id(vocabulary: dict[str, int], token: str) -> str:
    return str(vocabulary.get(token, "none"))
