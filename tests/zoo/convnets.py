"""Small convolutional networks, one for each way in which layers can be coupled."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUTS = (4, 3, 12, 12)


class Plain(nn.Module):
    """Convolutions, pooling, and a flatten before two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1)
        self.act = nn.PReLU(24)
        self.hidden, self.out = nn.Linear(24 * 9, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 2)
        x = functional.avg_pool2d(self.act(self.conv2(x)), 2)
        out: Tensor = self.out(torch.sigmoid(self.hidden(x.flatten(1))))
        return out


class Residual(nn.Module):
    """Two residual blocks; the second shortcut is a strided slice with channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.a, self.bn_a = nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.b, self.bn_b = nn.Conv2d(24, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.c, self.bn_c = nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.d, self.bn_d = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.out = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.bn_b(self.b(functional.relu(self.bn_a(self.a(x)))))
        x = functional.relu(y + x)
        y = self.bn_d(self.d(functional.relu(self.bn_c(self.c(x)))))
        y += functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
        out: Tensor = self.out(functional.relu(y).mean((2, 3)))
        return out


class Depthwise(nn.Module):
    """An inverted residual with squeeze and excitation, as in MobileNetV3."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.expand, self.bn1 = nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32)
        self.depth = nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.squeeze, self.excite = nn.Conv2d(32, 16, 1), nn.Conv2d(16, 32, 1)
        self.project, self.bn3 = nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = functional.hardswish(self.bn1(self.expand(x)))
        y = functional.hardswish(self.bn2(self.depth(y)))
        s = functional.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))
        y = y * functional.hardsigmoid(self.excite(s))
        out: Tensor = self.out((x + self.bn3(self.project(y))).mean((2, 3)))
        return out


class Dense(nn.Module):
    """Concatenated branches, one behind a transposed convolution, and a convolution in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.b = nn.Conv2d(16, 16, 3, 2, 1)
        self.up = nn.ConvTranspose2d(16, 16, 2, 2)
        self.bn = nn.BatchNorm2d(32)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=2)
        self.out = nn.Conv2d(32, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.a(x))
        x = torch.cat([x, self.up(functional.silu(self.b(x)))], 1)
        out: Tensor = self.out(functional.relu(self.grouped(functional.relu(self.bn(x)))))
        return out


class Shuffle(nn.Module):
    """Halves of channels that go different ways, at places that `forward` fixes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.inner, self.project = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 8, 1)
        self.out = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).chunk(2, 1)
        y = torch.cat([a, self.project(functional.relu(self.inner(b)))], 1)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        out: Tensor = self.out(y)
        return out


def trained(model: nn.Module) -> nn.Module:
    """The model with numbers that a training could have left: no zero, no unit statistics."""
    generator = torch.Generator().manual_seed(0)
    for name, p in [*model.named_parameters(), *model.named_buffers()]:
        if p.is_floating_point():
            spread = torch.rand(p.shape, generator=generator)
            is_positive = name.endswith("running_var") or (p.ndim == 1 and name.endswith("weight"))
            p.data = 0.5 + spread if is_positive else p.data + 0.2 * (spread - 0.5)
    return model.eval()


def images() -> Tensor:
    """Four of them."""
    return torch.randn(INPUTS, generator=torch.Generator().manual_seed(1))
