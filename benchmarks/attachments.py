"""What attachments add to a training step: steps with and without, in turns, their medians.

    OMP_NUM_THREADS=1 python -m benchmarks.attachments [--steps 15]

MiniLM's shape (6 layers of 384, batch 16 of 64 tokens) and ResNet-18 (batch 8 of 64 x 64 pixels),
both with random weights and AdamW. No step here updates masks; a whole training has about 32
that do.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gossamer.train.attachment import Technique
from gossamer.train.prune.criteria.snip_momentum import SnipMomentum
from gossamer.train.prune.patterns.block import Block
from gossamer.train.techniques.group_lasso import GroupLasso
from gossamer.train.techniques.sparsify import Sparsify

TECHNIQUES: dict[str, Technique] = {
    "magnitude": Sparsify(sparsity=0.8, interval=1000, end=1.0),
    "snip-momentum 4x1": Sparsify(
        sparsity=0.8, criterion=SnipMomentum(), pattern=Block(), interval=1000, end=1.0
    ),
    "lock": Sparsify(lock=True),
    "group-lasso 4x1": GroupLasso(),
}


def minilm() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    ids = torch.randint(0, config.vocab_size, (16, 64))
    labels = torch.randint(0, 2, (16,))
    return BertForSequenceClassification(config), lambda m: m(input_ids=ids, labels=labels).loss


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.around = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.around(x))


def resnet18() -> tuple[nn.Module, Callable[[nn.Module], Tensor]]:
    widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    stages = [part for i, o, s in widths for part in (Residual(i, o, s), Residual(o, o, 1))]
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, 1, 1), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 9)
    )
    images, labels = torch.randn(8, 3, 64, 64), torch.randint(0, 9, (8,))
    return model, lambda m: nn.functional.cross_entropy(m(images), labels)


def timed(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[..., Tensor]) -> float:
    begin = time.perf_counter()
    optimizer.zero_grad()
    loss(model).backward()
    optimizer.step()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=15)
    steps = parser.parse_args().steps
    for make in (minilm, resnet18):
        for name, technique in TECHNIQUES.items():
            model, loss = make()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
            timed(model, optimizer, loss)
            plain, held = [], []
            for _ in range(steps):
                plain.append(timed(model, optimizer, loss))
                with technique.attach(model, optimizer, steps=100_000):
                    held.append(timed(model, optimizer, loss))
            ratio = statistics.median(b / a for a, b in zip(plain, held, strict=True))
            print(f"{make.__name__:9} {name:18} {statistics.median(plain):.3f} s {ratio - 1:+.1%}")


if __name__ == "__main__":
    main()
