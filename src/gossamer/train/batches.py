"""Samples of a task as padded batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from gossamer.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from gossamer.runtime import Feed
    from gossamer.task import Label, Split

LABELS = "labels"
KEPT_BYTES = 1 << 30
POOL = 32  # batches whose samples are sorted by length together


@dataclass(frozen=True, kw_only=True, eq=False)
class PaddedBatches:
    """Labelled samples as batches; samples of unlike length are padded at their end.

    Where lengths differ, batches are made of samples of about one length: 32 batches' worth of
    samples in drawn order are sorted by length and cut, and the batches shuffled again. Padding
    costs time that nothing is learned in.

    Attributes:
        split: The samples.
        sequence: Names of the inputs whose axis 1 is the sequence.
        padding: What they are padded with where that is not 0, by name.
    """

    split: Split
    sequence: tuple[str, ...] = ()
    padding: Mapping[str, int] = field(default_factory=dict)
    _kept: dict[int, tuple[Feed, Label]] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[Mapping[str, Tensor]]:
        """Every sample once, in an order drawn by `seed`, but for a remainder smaller than `size`.

        Args:
            size: Samples of a batch.
            seed: Draws the order.
            start: So many batches are left out at the beginning.

        Raises:
            TrainingError: Fewer samples than `size`, samples without labels, or samples whose
                shapes differ where the model takes no sequence.
        """
        if len(self) < size:
            raise TrainingError(
                f"at least {size} samples for a batch of {size}", f"{len(self)}", "Lower batch."
            )
        for rows in self._order(size, np.random.default_rng(seed))[start:]:
            yield self._collated([self._sample(int(i)) for i in rows])

    def _order(self, size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        drawn = random.permutation(np.asarray(self.split.indices))
        drawn = drawn[: len(drawn) // size * size]
        if not self.sequence:
            return list(drawn.reshape(-1, size))
        found: list[NDArray[np.int64]] = []
        for begin in range(0, len(drawn), POOL * size):
            pool = drawn[begin : begin + POOL * size]
            lengths = [self._sample(int(i))[0][self.sequence[0]].shape[1] for i in pool]
            rows = pool[np.argsort(lengths, kind="stable")].reshape(-1, size)
            found.extend(rows[random.permutation(len(rows))])
        return found

    def _sample(self, index: int) -> tuple[Feed, Label]:
        """One sample, from memory while all of them fit into 1 GiB."""
        if index in self._kept:
            return self._kept[index]
        feed, label = self.split.samples.feed(index), self.split.samples.label(index)
        if label is None:
            raise TrainingError(
                "a label for every training sample", f"none for sample {index}", "Give other data."
            )
        if sum(x.nbytes for x in feed.values()) * len(self) <= KEPT_BYTES:
            self._kept[index] = (feed, label)
        return feed, label

    def _collated(self, samples: list[tuple[Feed, Label]]) -> dict[str, Tensor]:
        feeds = [feed for feed, _ in samples]
        batch = {name: self._stacked(name, [f[name] for f in feeds]) for name in feeds[0]}
        return batch | {LABELS: torch.tensor([label for _, label in samples])}

    def _stacked(self, name: str, arrays: list[NDArray[np.generic]]) -> Tensor:
        if name in self.sequence:
            longest = max(x.shape[1] for x in arrays)
            filler = self.padding.get(name, 0)
            arrays = [
                np.pad(
                    x,
                    [(0, 0), (0, longest - x.shape[1])] + [(0, 0)] * (x.ndim - 2),
                    constant_values=filler,
                )
                for x in arrays
            ]
        if len({x.shape for x in arrays}) > 1:
            shapes = " and ".join(sorted({str(list(x.shape)) for x in arrays}))
            raise TrainingError(
                f"samples of one shape for the input {name}", shapes, "Resize the samples."
            )
        return torch.from_numpy(np.concatenate(arrays))
