"""Small problems that a network learns within a second, and networks that learn them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gossamer.runtime import Feed
from gossamer.step import ModuleContext
from gossamer.task import Label, Samples, Split
from gossamer.train.batches import PaddedBatches

CLASSES, WIDTH = 4, 16


class Clouds(Samples):
    """Points of four clouds, which lie apart; the class is the cloud."""

    def __init__(self, count: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.labels = random.integers(0, CLASSES, count)
        middles = np.random.default_rng(7).normal(0, 2, (CLASSES, WIDTH))
        points = middles[self.labels] + random.normal(0, 1, (count, WIDTH))
        self.points = points.astype(np.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def feed(self, index: int) -> Feed:
        return {"x": self.points[index : index + 1]}

    def label(self, index: int) -> Label:
        return int(self.labels[index])


class Texts(Samples):
    """Token ids of unlike lengths; the class is whether the token 3 is among them."""

    def __init__(self, count: int) -> None:
        random = np.random.default_rng(0)
        self.rows = [random.integers(2, 9, random.integers(1, 12)) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.rows)

    def feed(self, index: int) -> Feed:
        ids = self.rows[index][None]
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    def label(self, index: int) -> Label:
        return int(3 in self.rows[index])


class Network(nn.Module):
    """Two hidden layers, a norm and dropout."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, width)
        self.norm = nn.LayerNorm(width)
        self.second = nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)
        self.classes = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x).relu())
        found: Tensor = self.classes(self.drop(self.second(y).relu()))
        return found


def network(seed: int = 0) -> Network:
    """Untrained, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network().eval()


def make() -> tuple[nn.Module, Mapping[str, Tensor]]:
    """What a source of the kind package.module:factory returns."""
    return network(), {"x": torch.zeros(2, WIDTH)}


def clouds(count: int = 256, seed: int = 0) -> PaddedBatches:
    """Training samples."""
    samples = Clouds(count, seed)
    return PaddedBatches(split=Split(samples=samples, indices=tuple(range(count))))


def context(folder: Path, training: PaddedBatches | None = None, seed: int = 0) -> ModuleContext:
    """What a step on `network` works with."""
    training = clouds() if training is None else training
    return ModuleContext(training=training, teacher=network, seed=seed, folder=folder)


def accuracy(module: nn.Module, seed: int = 1) -> float:
    """Share of 512 other points whose cloud is found."""
    samples = Clouds(512, seed)
    with torch.no_grad():
        found = module(torch.from_numpy(samples.points)).argmax(1).numpy()
    return float((found == samples.labels).mean())


def write(folder: Path, count: int, seed: int) -> Path:
    """Points and labels as the task `classification` reads them."""
    samples, path = Clouds(count, seed), folder / f"clouds{seed}.npz"
    np.savez(path, x=samples.points, labels=samples.labels)
    return path
