"""Images moved at random, so that a network does not learn them by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.train.attachment import Batch


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
