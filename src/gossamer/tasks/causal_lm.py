"""The task `causal-lm`: tokens in, the next token out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gossamer.errors import DataError, RecipeError
from gossamer.task import DataRequest, Label, Samples, Task, TaskData
from gossamer.tasks._dtypes import dtype_of
from gossamer.tasks._outputs import check_finite, is_float
from gossamer.tasks._splits import divide, locate
from gossamer.tasks._tokens import most_tokens, text_tokens

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed
    from gossamer.source import FloatModel, TensorType

SUFFIXES = (".txt", ".npz")
NEEDED = "a text (.txt), or documents as arrays of token numbers (.npz)"
PAST = "past"  # in the names of inputs for keys and values of earlier tokens
LARGEST = 700.0  # exp of more is no number


@dataclass(frozen=True, kw_only=True, slots=True)
class CausalLm(Task):
    """Perplexity: from how many tokens the next one might as well be drawn; less is better.

    Documents are cut into windows without padding, and each window is read by itself. A tokenizer
    that begins texts with a token of its own gives it to every window. Past keys and values that
    the model takes in are empty.

    Attributes:
        length: Tokens of a window.
    """

    waits_for_weights: ClassVar[bool] = True
    length: int = 256

    def __post_init__(self) -> None:
        if self.length < 2:
            needed = "a length of at least 2 tokens: one to see, one to tell"
            raise RecipeError(needed, f"{self.length}", "256 is the default of --length.")

    @property
    def metric_name(self) -> str:
        """Name of the score."""
        return "perplexity"

    @property
    def higher_is_better(self) -> bool:
        """Direction of the score."""
        return False

    def open(self, request: DataRequest) -> TaskData:
        """Windows of a text, or of documents given as token numbers.

        Raises:
            DataError: See `Task.open`.
        """
        places = locate(request, SUFFIXES, NEEDED)
        size, is_fixed = most_tokens(request.model, self.length)

        def read(path: Path) -> Windows:
            first, documents = _documents(request.model, path)
            step = max(1, size - len(first))
            windows = [
                (*first, *(int(token) for token in document[i : i + step]))
                for document in documents
                for i in range(0, len(document), step)
            ]
            kept = tuple(w for w in windows if len(w) == size or (len(w) > 1 and not is_fixed))
            return Windows(windows=kept, inputs=request.model.inputs)

        found = divide(places, read, request.seed)
        return replace(found, description=(("tokens of a window", str(size)),))

    def row(self, outputs: Feed, label: Label, reference: Feed | None) -> NDArray[np.float64]:
        """[negative log likelihood, tokens told, how many were the likeliest]."""
        check_finite(outputs)
        tokens = np.asarray(label)
        logits = _logits(outputs, len(tokens))[:-1].astype(np.float64)
        told = tokens[1:]
        if told.max() >= logits.shape[1]:
            raise DataError(
                f"token numbers below {logits.shape[1]}, as many as the model knows",
                f"{told.max()}",
                "Check that the tokens belong to this model.",
            )
        at = logits[np.arange(len(told)), told]
        largest = logits.max(axis=1)
        sums = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
        return np.array([(sums - at).sum(), len(told), (at == largest).sum()], np.float64)

    def score(self, rows: NDArray[np.float64]) -> float:
        """Exp of the mean negative log likelihood of a token."""
        return math.exp(min(float(rows[:, 0].sum() / rows[:, 1].sum()), LARGEST))

    def metrics(self, rows: NDArray[np.float64]) -> dict[str, float]:
        """Perplexity, and how often the next token was the likeliest."""
        found = {self.metric_name: self.score(rows)}
        return found | {"next_token_accuracy": float(rows[:, 2].sum() / rows[:, 1].sum())}


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows(Samples):
    """Windows of tokens; each is its own label."""

    windows: tuple[tuple[int, ...], ...]
    inputs: tuple[TensorType, ...]

    def __len__(self) -> int:
        return len(self.windows)

    def feed(self, index: int) -> Feed:
        """The tokens, a mask of ones, positions from 0, and nothing before them."""
        count = len(self.windows[index])
        values = {
            "input_ids": self.windows[index],
            "attention_mask": (1,) * count,
            "position_ids": tuple(range(count)),
            "token_type_ids": (0,) * count,
        }
        return {
            t.name: np.array([values[t.name]], dtype_of(t)) if t.name in values else _empty(t)
            for t in self.inputs
        }

    def label(self, index: int) -> Label:
        """The tokens."""
        return self.windows[index]


def _empty(tensor: TensorType) -> NDArray[np.generic]:
    """Keys or values of no token: 1 along the first open axis, the batch, and 0 along others."""
    shape, is_first = [], True
    for dimension in tensor.shape or ():
        is_open = not isinstance(dimension, int)
        shape.append(dimension if isinstance(dimension, int) else int(is_first))
        is_first = is_first and not is_open
    if PAST not in tensor.name or 0 not in shape:
        raise DataError(
            "a model that takes input_ids, attention_mask, position_ids, token_type_ids, and past "
            "keys and values of any length",
            f"the input {tensor.name} of shape {tensor.shape}",
            "Judge it with --task fidelity.",
        )
    return np.zeros(shape, dtype_of(tensor))


def _documents(model: FloatModel, path: Path) -> tuple[tuple[int, ...], list[NDArray[np.generic]]]:
    """The tokens that begin every window, and those of each document; a folder has all of both."""
    if path.is_dir():
        files = [p for p in sorted(path.iterdir()) if p.suffix.lower() in SUFFIXES]
        if not files:
            raise DataError(
                NEEDED,
                f"the folder {path}, which is empty of them",
                "Files are .txt or .npz; check the path.",
            )
        parts = [_documents(model, file) for file in files]
        return parts[0][0], [document for _, found in parts for document in found]
    if path.suffix.lower() != ".npz":
        return text_tokens(model, path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in file.files]
    except (OSError, ValueError) as error:
        raise DataError(NEEDED, f"{path}: {error}", "Save arrays with numpy.savez.") from error
    documents = [row for a in arrays for row in (a if a.ndim == 2 else [a])]
    for document in documents:
        if document.ndim != 1 or document.dtype.kind not in "iu" or (document < 0).any():
            raise DataError(
                "arrays of token numbers: a document, or one in each row",
                f"{document.dtype} of shape {document.shape} in {path}",
                "Save whole numbers from 0, without padding.",
            )
    return (), documents


def _logits(outputs: Feed, count: int) -> NDArray[np.generic]:
    """The first float output with a row for each token, `[tokens, vocabulary]`."""
    for array in outputs.values():
        if is_float(array) and array.ndim == 3 and array.shape[:2] == (1, count):
            row: NDArray[np.generic] = array[0]
            return row
    raise DataError(
        f"an output of shape [1, {count}, vocabulary]",
        ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items()),
        "A model that does not tell next tokens is judged with --task fidelity.",
    )
