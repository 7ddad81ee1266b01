"""Small torch modules to train in tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Net(nn.Module):
    """Two Convs, three Linears; classes of 8 x 8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 12, 3, stride=2)
        self.wide = nn.Linear(12 * 9, 30)
        self.deep = nn.Linear(30, 16)
        self.last = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.relu(self.conv(functional.relu(self.first(images))))
        deep: Tensor = self.deep(functional.relu(self.wide(inner.flatten(1))))
        found: Tensor = self.last(functional.relu(deep))
        return found


def net(seed: int = 0) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net()


def batch(step: int, size: int = 8) -> tuple[Tensor, Tensor]:
    """Images and their classes, the same ones for every step of the same number."""
    draw = torch.Generator().manual_seed(step)
    images = torch.randn(size, 3, 8, 8, generator=draw)
    return images, torch.randint(0, 4, (size,), generator=draw)
