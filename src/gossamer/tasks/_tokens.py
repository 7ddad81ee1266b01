"""Text as the model takes it: token numbers, mask and token types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import plugins
from gossamer.errors import DataError
from gossamer.tasks._config import max_positions, read_json
from gossamer.tasks._dtypes import dtype_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed
    from gossamer.source import FloatModel, TensorType

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
# a tokenizer without a limit of its own stores a huge number
_NO_LIMIT = 1_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokenizer:
    """Turns one text or a pair into a feed.

    Attributes:
        length: Most tokens; longer text is cut, the longer of a pair first.
        padded: Number of tokens that the model insists on, if it does.
        pad: The token that fills up to it.
    """

    backend: Any  # a tokenizers.Tokenizer; the package ships without complete types
    inputs: tuple[TensorType, ...]
    length: int
    padded: int | None
    pad: int

    @classmethod
    def of(cls, model: FloatModel, length: int) -> Tokenizer:
        """The tokenizer in the model's folder, for the inputs that the model has.

        Raises:
            DataError: No folder, no tokenizer in it, or inputs that do not come from text.
            MissingDependency: The package that reads it is not installed.
        """
        strange = [t.name for t in model.inputs if t.name not in INPUTS]
        if strange or not any(t.name == "input_ids" for t in model.inputs):
            raise DataError(
                f"a model that takes {', '.join(INPUTS)}, or some of them",
                ", ".join(t.name for t in model.inputs),
                "Save token arrays as .npz and use --task classification.",
            )
        padded = _fixed_length(model.inputs)
        most = padded or min(length, _limit(model))
        backend = _backend(model)
        backend.no_padding()
        backend.enable_truncation(max_length=most)
        return cls(
            backend=backend,
            inputs=model.inputs,
            length=most,
            padded=padded,
            pad=_pad_token(model, backend),
        )

    def feed(self, text: str, pair: str | None) -> Feed:
        """The inputs that the model has, batch 1, unpadded where the model lets them be."""
        encoding = self.backend.encode(text, pair)
        fill = max(0, (self.padded or 0) - len(encoding.ids))
        values: dict[str, Sequence[int]] = {
            "input_ids": [*encoding.ids, *[self.pad] * fill],
            "attention_mask": [*encoding.attention_mask, *[0] * fill],
            "token_type_ids": [*encoding.type_ids, *[0] * fill],
            "position_ids": range(len(encoding.ids) + fill),
        }
        return {t.name: np.array([values[t.name]], dtype_of(t)) for t in self.inputs}


def most_tokens(model: FloatModel, length: int) -> tuple[int, bool]:
    """How many tokens a window of at most `length` has, and whether the model insists on them.

    Raises:
        DataError: The model does not take token numbers.
    """
    if not any(tensor.name == "input_ids" for tensor in model.inputs):
        raise DataError(
            "a model that takes input_ids",
            ", ".join(tensor.name for tensor in model.inputs),
            "Judge it with --task fidelity.",
        )
    fixed = _fixed_length(model.inputs)
    return fixed or min(length, max_positions(model) or length), fixed is not None


def text_tokens(model: FloatModel, path: Path) -> tuple[tuple[int, ...], list[NDArray[np.generic]]]:
    """The token that the tokenizer begins texts with, if it does, and the tokens of a text.

    Raises:
        DataError: No tokenizer, no text, or a file that is none.
        MissingDependency: The package that reads tokenizers is not installed.
    """
    backend = _backend(model)
    backend.no_padding()
    backend.no_truncation()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("a text in UTF-8", f"{path}: {error}", "Save it as UTF-8.") from error
    first = backend.encode("").ids
    tokens = backend.encode(text, add_special_tokens=False).ids
    if not tokens:
        raise DataError("a text of some tokens", f"none in {path}", "Give more text.")
    return tuple(first) if len(first) == 1 else (), [np.array(tokens)]


def _fixed_length(inputs: Sequence[TensorType]) -> int | None:
    shape = next(t.shape for t in inputs if t.name == "input_ids")
    last = shape[-1] if shape else None
    return last if isinstance(last, int) else None


def _limit(model: FloatModel) -> int:
    settings = read_json(model.folder, "tokenizer_config.json")
    stored = settings.get("model_max_length")
    most = int(stored) if isinstance(stored, int | float) and stored < _NO_LIMIT else _NO_LIMIT
    return min(most, max_positions(model) or _NO_LIMIT)


def _pad_token(model: FloatModel, backend: Any) -> int:
    token = read_json(model.folder, "tokenizer_config.json").get("pad_token")
    text = token.get("content") if isinstance(token, dict) else token
    found = backend.token_to_id(text) if isinstance(text, str) else None
    stored = read_json(model.folder, "config.json").get("pad_token_id")
    return int(found if found is not None else stored or 0)


def _backend(model: FloatModel) -> Any:
    folder = model.folder
    if folder is None:
        raise DataError(
            "a Hugging Face folder with model and tokenizer",
            f"the file {model.path.name} alone",
            "Give the folder as MODEL; or save token arrays as .npz for --task classification.",
        )
    path = folder / "tokenizer.json"
    if path.is_file():
        tokenizers = plugins.require("tokenizers", "hf", "turning text into tokens")
        try:
            return tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises nothing narrower
            raise _unreadable(path, error) from error
    transformers = plugins.require("transformers", "hf", "converting the tokenizer")
    try:
        converted = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        backend = converted.backend_tokenizer
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _unreadable(folder, error) from error
    return backend


def _unreadable(where: object, error: Exception) -> DataError:
    return DataError(
        "a tokenizer beside the model: tokenizer.json, or what transformers can convert to it",
        f"{where}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        "Save it there with tokenizer.save_pretrained(folder).",
    )
