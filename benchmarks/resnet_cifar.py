"""The ResNets of CIFAR-10 (He et al. 2016, section 4.2) with the real weights, as factories.

`resnet20()` and `resnet56()` return (module, example inputs) with random weights; `load` puts those
of the folder of real models in.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)
BATCH = 2
REAL = Path(__file__).resolve().parents[2] / "shared" / "real" / "cifar10"


class Shortcut(nn.Module):
    """Every second pixel, and channels of zeros on both sides (option A of the paper)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(
            x[:, :, ::2, ::2], (0, 0, 0, 0, self.channels // 4, self.channels // 4)
        )


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = Shortcut(outputs) if inputs != outputs else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return functional.relu(out)


class ResNet(nn.Module):
    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = self._stage(WIDTHS[0], WIDTHS[0], blocks)
        self.layer2 = self._stage(WIDTHS[0], WIDTHS[1], blocks)
        self.layer3 = self._stage(WIDTHS[1], WIDTHS[2], blocks)
        self.linear = nn.Linear(WIDTHS[2], classes)

    def _stage(self, inputs: int, outputs: int, blocks: int) -> nn.Sequential:
        first = Block(inputs, outputs, 1 if inputs == outputs else 2)
        return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = functional.adaptive_avg_pool2d(out, 1).flatten(1)
        scores: Tensor = self.linear(out)
        return scores


def resnet20() -> tuple[ResNet, dict[str, Tensor]]:
    """20 layers, 0.27 M weights."""
    return ResNet(3).eval(), {"x": torch.zeros(BATCH, 3, 32, 32)}


def resnet56() -> tuple[ResNet, dict[str, Tensor]]:
    """56 layers, 0.85 M weights."""
    return ResNet(9).eval(), {"x": torch.zeros(BATCH, 3, 32, 32)}


def load(model: ResNet, path: Path) -> ResNet:
    """The model with the weights of a safetensors file."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path), strict=False)  # no counts of batches there
    return model


def trained20() -> tuple[ResNet, dict[str, Tensor]]:
    """`resnet20` with the weights of the folder of real models beside the checkout."""
    model, inputs = resnet20()
    return load(model, REAL / "resnet20.safetensors"), inputs


def trained56() -> tuple[ResNet, dict[str, Tensor]]:
    """`resnet56` with the weights of the folder of real models beside the checkout."""
    model, inputs = resnet56()
    return load(model, REAL / "resnet56.safetensors"), inputs
