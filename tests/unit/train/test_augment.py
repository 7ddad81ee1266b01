"""Samples changed at random stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import TrainingError

torch = pytest.importorskip("torch")
from gossamer.train.attachment import Batch  # noqa: E402
from gossamer.train.augment import HIDDEN, crop_tokens, flip_and_shift, hide_tokens  # noqa: E402
from gossamer.train.loop import AUGMENTS  # noqa: E402
from gossamer.train.steps.fit import Fit  # noqa: E402

pytestmark = pytest.mark.torch
Augment = Callable[[Batch, torch.Generator], Batch]


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(8, 24))
def test_images_are_flipped_and_shifted_but_stay_what_they_are(
    seed: int, count: int, side: int
) -> None:
    images = torch.randn(count, 2, side, side, generator=torch.Generator().manual_seed(seed))
    batch = {"x": images, "labels": torch.arange(count)}

    moved = flip_and_shift(batch, torch.Generator().manual_seed(seed))

    reach = side // 8
    padded = torch.nn.functional.pad(images, (reach,) * 4)
    assert torch.equal(moved["labels"], batch["labels"])
    assert moved["x"].shape == images.shape
    for given_image, found in zip(padded, moved["x"], strict=True):
        cut = [
            given_image[:, top : top + side, left : left + side]
            for top in range(2 * reach + 1)
            for left in range(2 * reach + 1)
        ]
        assert any(torch.equal(found, c) or torch.equal(found, c.flip(-1)) for c in cut)


@given(st.integers(0, 1000), st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_tokens_between_the_first_and_the_last_may_be_hidden(seed: int, lengths: list[int]) -> None:
    longest = max(*lengths, 1)
    mask = torch.tensor([[int(i < n) for i in range(longest)] for n in lengths])
    batch = {"input_ids": torch.ones_like(mask), "attention_mask": mask}

    found = hide_tokens(batch, torch.Generator().manual_seed(seed))

    assert torch.equal(found["input_ids"], batch["input_ids"])
    kept = found["attention_mask"]
    assert bool((kept <= mask).all())
    for row, n in zip(kept, lengths, strict=True):
        assert n == 0 or (row[0] == 1 and row[n - 1] == 1)


def test_about_half_of_the_largest_share_is_hidden() -> None:
    mask = torch.ones(400, 102, dtype=torch.int64)

    kept = hide_tokens({"attention_mask": mask}, torch.Generator().manual_seed(0))["attention_mask"]

    shares = 1 - kept[:, 1:-1].float().mean(1)
    assert float(shares.mean()) == pytest.approx(HIDDEN / 2, abs=0.02)
    assert float(shares.std()) > HIDDEN / 5  # texts draw shares of their own


def test_padding_in_front_hides_no_first_or_last_token() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1]]).repeat(200, 1)

    kept = hide_tokens({"attention_mask": mask}, torch.Generator().manual_seed(0))["attention_mask"]

    assert bool((kept[:, [2, 4]] == 1).all())
    assert 0 < int((kept[:, 3] == 0).sum()) < 100


@given(st.integers(0, 1000), st.lists(st.integers(0, 20), min_size=1, max_size=6), st.booleans())
def test_one_run_of_tokens_is_kept(seed: int, lengths: list[int], is_padded_in_front: bool) -> None:
    longest = max(*lengths, 1)
    mask = torch.tensor([[int(i < n) for i in range(longest)] for n in lengths])
    mask = mask.flip(1) if is_padded_in_front else mask

    kept = crop_tokens({"attention_mask": mask}, torch.Generator().manual_seed(seed))
    for row, before in zip(kept["attention_mask"], mask, strict=True):
        assert bool((row <= before).all())
        tokens = row[before == 1].tolist()
        inner = "".join(map(str, tokens[1:-1]))
        assert tokens[:1] + tokens[-1:] in ([], [1, 1])
        assert not inner or ("1" in inner and "0" not in inner.strip("0"))


def test_most_texts_are_cropped_and_some_are_whole() -> None:
    mask = torch.ones(1000, 102, dtype=torch.int64)

    kept = crop_tokens({"attention_mask": mask}, torch.Generator().manual_seed(0))["attention_mask"]

    shares = kept[:, 1:-1].float().mean(1)
    assert float((shares == 1).float().mean()) == pytest.approx(0.3, abs=0.05)
    assert 0.1 <= float(shares.min()) < 0.15
    assert float(shares[shares < 1].mean()) == pytest.approx(0.55, abs=0.05)


@pytest.mark.parametrize("augment", [hide_tokens, crop_tokens])
def test_samples_without_tokens_are_refused(augment: Augment) -> None:
    with pytest.raises(TrainingError, match=r"attention_mask.*received x \[2, 3\]"):
        augment({"x": torch.zeros(2, 3)}, torch.Generator())


def test_every_augment_that_fit_takes_is_one_that_the_loop_knows() -> None:
    assert set(get_args(get_type_hints(Fit)["augment"])) == {"none", *AUGMENTS}
