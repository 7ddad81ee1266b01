"""Samples as padded batches: each once, in a drawn order, of about one length."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import TrainingError
from gossamer.runtime import Feed
from gossamer.task import Label, Split

torch = pytest.importorskip("torch")
from gossamer.train.batches import PaddedBatches  # noqa: E402
from zoo.trainable import Clouds, Texts, clouds  # noqa: E402

pytestmark = pytest.mark.torch


def texts(count: int) -> PaddedBatches:
    split = Split(samples=Texts(count), indices=tuple(range(count)))
    names = ("input_ids", "attention_mask")
    return PaddedBatches(split=split, sequence=names, padding={"input_ids": 1})


@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 5))
def test_every_sample_comes_once_but_for_a_remainder(count: int, size: int, seed: int) -> None:
    given_rows = Clouds(count).points
    if count < size:
        with pytest.raises(TrainingError, match=f"at least {size} samples"):
            next(clouds(count).batches(size, seed))
        return

    batches = list(clouds(count).batches(size, seed))
    rows = torch.cat([batch["x"] for batch in batches]).numpy()

    assert [len(batch["x"]) for batch in batches] == [size] * (count // size)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert {row.tobytes() for row in rows} <= {row.tobytes() for row in given_rows}


@pytest.mark.parametrize("kind", [clouds, texts])
def test_the_order_is_drawn_by_the_seed_and_goes_on_anywhere(kind: type) -> None:
    name = "x" if kind is clouds else "input_ids"
    first, again, other = (list(kind(100).batches(8, seed)) for seed in (0, 0, 1))
    rest = list(kind(100).batches(8, 0, start=5))

    assert all(torch.equal(a[name], b[name]) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a[name], b[name]) for a, b in zip(first[5:], rest, strict=True))
    assert not all(torch.equal(a["labels"], b["labels"]) for a, b in zip(first, other, strict=True))


def test_texts_are_padded_behind_with_what_the_model_pads_with() -> None:
    for batch in islice(texts(400).batches(8, 0), 20):
        lengths = batch["attention_mask"].sum(1)
        place = torch.arange(batch["input_ids"].shape[1])
        is_pad = place >= lengths[:, None]

        assert (batch["attention_mask"] == (~is_pad).long()).all()
        assert (batch["input_ids"][is_pad] == 1).all()
        assert (batch["input_ids"][~is_pad] >= 2).all()
        assert batch["labels"].tolist() == [
            int(3 in row[:n]) for row, n in zip(batch["input_ids"], lengths, strict=True)
        ]


def test_texts_of_about_one_length_come_together() -> None:
    batches = list(texts(512).batches(8, 0))
    padded = sum(batch["input_ids"].numel() for batch in batches)
    needed = sum(int(batch["attention_mask"].sum()) for batch in batches)

    assert padded < 1.15 * needed  # in drawn order: about 1.7


class Odd(Clouds):
    """Samples of unlike shapes, or without labels."""

    def __init__(self, labelled: bool) -> None:
        super().__init__(8)
        self.labelled = labelled

    def feed(self, index: int) -> Feed:
        return {"x": self.points[index : index + 1, : 8 + index]}

    def label(self, index: int) -> Label:
        return 0 if self.labelled else None


@pytest.mark.parametrize(
    ("labelled", "message"),
    [(True, "samples of one shape for the input x"), (False, "a label for every training sample")],
)
def test_samples_that_cannot_be_trained_with_are_refused(labelled: bool, message: str) -> None:
    odd = PaddedBatches(split=Split(samples=Odd(labelled), indices=tuple(range(8))))

    with pytest.raises(TrainingError, match=message):
        next(odd.batches(4, 0))
