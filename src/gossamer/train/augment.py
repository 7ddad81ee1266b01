"""Samples changed at random, so that a network does not learn them by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from gossamer.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.train.attachment import Batch


MASK = "attention_mask"
HIDDEN = 0.3  # of the tokens of a text, at most; on average half of that
CROPPED = 0.7  # of the texts
SHORTEST = 0.1  # of the tokens of a text


def hide_tokens(batch: Batch, random: torch.Generator) -> Batch:
    """The batch with some tokens of every text out of the model's sight.

    Each text draws a share up to 0.3, and each of its tokens but the first and the last is hidden
    with that chance: its place in `attention_mask [n, tokens]` becomes 0. Nothing else changes, so
    it suits every tokenizer. Word dropout, Iyyer et al. 2015, "Deep Unordered Composition Rivals
    Syntactic Methods for Text Classification".

    Raises:
        TrainingError: The batch has no attention mask of two axes.
    """
    places = _places(batch, "hide-tokens")
    shares = HIDDEN * torch.rand(len(places), 1, generator=random)
    hidden = torch.rand(places.shape, generator=random) < shares
    return _seen(batch, (places == 0) | ~hidden)


def crop_tokens(batch: Batch, random: torch.Generator) -> Batch:
    """The batch with one run of tokens of most texts left, and the others out of sight.

    With a chance of 0.7 a text keeps 0.1 to 1 of the tokens between its first and its last, in one
    run at a place that is drawn; the others are hidden as `hide_tokens` does it. A phrase may say
    something else than its sentence: learn from a teacher (`distill` with a small `hard-weight`),
    which judges what is left.

    Raises:
        TrainingError: The batch has no attention mask of two axes.
    """
    places = _places(batch, "crop-tokens")
    inner = places.amax(1, keepdim=True)
    drawn, chance, at = torch.rand(3, len(places), 1, generator=random)
    shares = (SHORTEST + (1 - SHORTEST) * drawn).masked_fill(chance >= CROPPED, 1.0)
    length = (shares * inner).round().clamp(min=1)
    skipped = (at * (inner - length + 1)).floor()
    return _seen(batch, (places == 0) | ((places > skipped) & (places <= skipped + length)))


def _places(batch: Batch, asked: str) -> Tensor:
    """1, 2, … of the tokens between the first and the last, `[n, tokens]`; 0 elsewhere."""
    mask = batch.get(MASK)
    if mask is None or mask.dim() != 2:
        raise TrainingError(
            f"texts with {MASK} [samples, tokens], for {asked}",
            ", ".join(f"{name} {list(x.shape)}" for name, x in batch.items()),
            "Choose another augment.",
        )
    places = mask.ne(0).cpu().cumsum(1) - 1  # however they are padded
    return places.masked_fill((places < 0) | (places >= places[:, -1:]), 0)


def _seen(batch: Batch, kept: Tensor) -> Batch:
    mask = batch[MASK]
    return {**batch, MASK: mask.masked_fill(~kept.to(mask.device), 0)}


def flip_and_shift(batch: Batch, random: torch.Generator) -> Batch:
    """The batch with every image (`[n, channels, height, width]`) flipped by chance, and shifted.

    Shifts are up to an eighth of a side in each direction; what comes in is 0.
    """
    return {n: _moved(x, random) if x.dim() == 4 else x for n, x in batch.items()}


def _moved(images: Tensor, random: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    up, left = height // 8, width // 8
    padded = pad(images, (left, left, up, up))
    flips = torch.rand(count, generator=random) < 0.5
    tops = torch.randint(0, 2 * up + 1, (count,), generator=random).tolist()
    lefts = torch.randint(0, 2 * left + 1, (count,), generator=random).tolist()
    cut = [
        x[:, top : top + height, begin : begin + width]
        for x, top, begin in zip(padded, tops, lefts, strict=True)
    ]
    return torch.stack([x.flip(-1) if flip else x for x, flip in zip(cut, flips, strict=True)])
