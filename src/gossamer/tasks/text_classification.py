"""The task `text-classification`: a text or a pair in, a class or a number out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from gossamer.errors import RecipeError
from gossamer.task import DataRequest, Label, Samples, Task, TaskData
from gossamer.tasks._columns import asked_columns
from gossamer.tasks._config import predicts_a_number
from gossamer.tasks._labels import describe
from gossamer.tasks._outputs import class_of, logits, number
from gossamer.tasks._scores import f1, matthews, pearson, spearman
from gossamer.tasks._splits import divide, locate
from gossamer.tasks._tables import NEEDED, SUFFIXES
from gossamer.tasks._texts import Text, number_labels, read_texts
from gossamer.tasks._tokens import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gossamer.runtime import Feed
    from gossamer.source import FloatModel

Metric = Literal["accuracy", "f1", "matthews", "spearman"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextClassification(Task):
    """Classes of texts or pairs of texts, or how alike a pair is.

    Attributes:
        columns: Where text, pair and label stand: text=0,pair=1,label=2, by name or index; left
            out, names and contents of the columns decide.
        metric: accuracy, f1, matthews or spearman; by default spearman for a model that predicts
            a number, else accuracy.
        length: Most tokens of a text; longer ones are cut.
    """

    columns: str | None = None
    metric: Metric | None = None
    length: int = 128

    def __post_init__(self) -> None:
        if self.columns is not None:
            asked_columns(self.columns)
        if self.length < 3:
            raise RecipeError(
                "a length of at least 3 tokens: two of them are special",
                str(self.length),
                "128 is the default.",
            )

    @property
    def metric_name(self) -> str:
        """Name of the score."""
        return self.metric or "accuracy"

    def resolved(self, model: FloatModel) -> Self:
        """The same task with the metric that suits the model."""
        if self.metric is not None:
            return self
        return replace(self, metric="spearman" if predicts_a_number(model) else "accuracy")

    def open(self, request: DataRequest) -> TaskData:
        """Texts from tsv, csv, jsonl or parquet, tokenized when they are asked for.

        Raises:
            DataError: See `Task.open`.
        """
        task = self.resolved(request.model)
        places = locate(request, SUFFIXES, NEEDED)
        tokenizer = Tokenizer.of(request.model, task.length)
        asked = None if task.columns is None else asked_columns(task.columns)
        texts = {path: read_texts(path, asked) for path in places.paths}
        is_number = task.metric == "spearman"
        judged = tuple(texts[path] for path in places.judged)
        numbers = number_labels(judged, request.model, numeric=is_number)

        def read(path: Path) -> Texts:
            labels = tuple(numbers.get(text.label) for text in texts[path].texts)
            return Texts(texts=texts[path].texts, labels=labels, tokenizer=tokenizer)

        data = divide(places, read, request.seed)
        found = [("columns", texts[places.main].columns.describe())]
        if not is_number:
            found.append(("classes", describe({k: int(v) for k, v in numbers.items()})))
        return replace(data, description=(*found, ("tokens at most", str(tokenizer.length))))

    def row(self, outputs: Feed, label: Label, reference: Feed | None) -> NDArray[np.float64]:
        """[prediction, label, number of classes]; 1 class where a number is predicted."""
        if self.metric_name == "spearman":
            wanted = float(label) if isinstance(label, int | float) else 0.0
            return np.array([number(outputs), wanted, 1])
        z = logits(outputs)
        return np.array([int(z.argmax()), class_of(label, z.size), z.size], np.float64)

    def score(self, rows: NDArray[np.float64]) -> float:
        """The chosen metric."""
        predicted, labels, classes = rows[:, 0], rows[:, 1], int(rows[0, 2])
        if self.metric_name == "spearman":
            return spearman(predicted, labels)
        if self.metric_name == "f1":
            return f1(predicted, labels, classes)
        if self.metric_name == "matthews":
            return matthews(predicted, labels)
        return float((predicted == labels).mean())

    def metrics(self, rows: NDArray[np.float64]) -> dict[str, float]:
        """The chosen metric and the others that go with it."""
        found = {self.metric_name: self.score(rows)}
        if self.metric_name == "spearman":
            return found | {"pearson": pearson(rows[:, 0], rows[:, 1])}
        others: tuple[Metric, ...] = ("accuracy", "f1", "matthews")
        return found | {name: replace(self, metric=name).score(rows) for name in others}


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts(Samples):
    """Texts with their labels; tokens are made when a row is asked for."""

    texts: tuple[Text, ...]
    labels: tuple[float | int | None, ...]
    tokenizer: Tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def feed(self, index: int) -> Feed:
        """The tokens of one row."""
        row = self.texts[index]
        return self.tokenizer.feed(row.text, row.pair)

    def label(self, index: int) -> Label:
        """The label of one row."""
        return self.labels[index]
