"""A small network with everything that fake quantization meets, and what becomes of it in int8."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from gossamer import plugins
from gossamer.export.agree import outputs_on_ort
from gossamer.graph.calibrate import collect
from gossamer.graph.passes.simplify import simplify
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.graph.taps import Wanted
from gossamer.plan import Plan
from gossamer.source import ModuleExample
from gossamer.step import Calibration, GraphContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossamer.runtime import Feed
    from gossamer.statistics import Statistics

WIDTH, SIZE, CLASSES = 16, 8, 4
EXAMPLE = ModuleExample(inputs={"x": torch.zeros(2, 3, SIZE, SIZE)})


class Residual(nn.Module):
    """Conv, BatchNorm, ReLU twice, with a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        inside = torch.relu(self.bn1(self.conv1(x)))
        found: Tensor = torch.relu(self.bn2(self.conv2(inside)) + x)
        return found


class Pictures(nn.Module):
    """A stem, two residual blocks, pooling in between, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()
        )
        self.blocks = nn.Sequential(Residual(), nn.MaxPool2d(2), Residual())
        self.linear = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(self.blocks(self.stem(x)).mean((2, 3)))
        return found


def pictures(seed: int = 0) -> Pictures:
    """The network in eval mode, with BatchNorms that have seen data."""
    torch.manual_seed(seed)
    model = Pictures()
    for _ in range(3):
        model(torch.randn(16, 3, SIZE, SIZE))
    return model.eval()


@functools.cache
def _learned() -> dict[str, Tensor]:
    model = pictures()
    for rate, steps in ((1e-2, range(150)), (3e-3, range(150, 300))):
        fit(model, torch.optim.Adam(model.parameters(), lr=rate), steps)
    return model.state_dict()


def make() -> tuple[nn.Module, dict[str, Tensor]]:
    """The network after 300 steps, as a source of the kind package.module:factory."""
    model = Pictures()
    model.load_state_dict(_learned())
    return model.eval(), dict(EXAMPLE.inputs)


def fit(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Train on fresh samples, and leave the model in eval mode."""
    model.train()
    for seed in steps:
        x, labels = labelled(seed + 100)
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def write(folder: Path, count: int, seed: int) -> Path:
    """Samples and labels as the task `classification` reads them."""
    (x, labels), path = labelled(seed, count), folder / f"pictures{seed}.npz"
    np.savez(path, x=x.numpy(), labels=labels.numpy())
    return path


def labelled(seed: int, count: int = 64) -> tuple[Tensor, Tensor]:
    """Noise, and the quarter that is brightest in it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    halves = x.mean(1).reshape(count, 2, SIZE // 2, 2, SIZE // 2)
    return x, halves.mean((2, 4)).flatten(1).argmax(1)


def batches() -> Iterator[dict[str, Tensor]]:
    """Two batches, with labels that `forward` does not take."""
    for seed in (1, 2):
        x, labels = labelled(seed)
        yield {"x": x, "labels": labels}


def quantized(
    path: Path, target: str, feeds: list[Feed], step: QuantizeStatic | None = None
) -> tuple[ir.Model, Plan]:
    """What a recipe makes of a file for `target`, and its plan."""
    plain, plans = simplify(ir.load(path)), list[Plan]()

    def statistics(values: object) -> Statistics:
        names = {v.name for n in plain.graph for v in n.outputs} | {"x"}
        wanted = Wanted(values=tuple(v for v in values if v in names))  # type: ignore[attr-defined]
        return collect(plain, wanted, lambda: iter(feeds), samples=len(feeds), threads=1)

    context = GraphContext(
        target=plugins.load("targets", target),
        cpu="portable",
        calibration=Calibration(statistics=statistics, feeds=lambda: itertools.chain(feeds)),
        record=plans.append,
    )
    graph = ir.load(path)
    for each in (Simplify(), Fuse(), step or QuantizeStatic()):
        graph = each.apply(graph, context)
    return graph, plans[-1]


def samples(x: Tensor) -> list[Feed]:
    """Feeds of one sample each."""
    return [{"x": row[None].numpy()} for row in x]


def outputs(graph: ir.Model, x: Tensor, folder: Path) -> np.ndarray:
    """What a graph computes, on ONNX Runtime without optimizations."""
    path = folder / "int8.onnx"
    ir.save(graph, path)
    (found,) = outputs_on_ort(path, [{"x": x.numpy()}])
    return np.asarray(next(iter(found.values())))


def sqnr(expected: np.ndarray, received: np.ndarray) -> float:
    """Signal to noise in dB."""
    noise = float(((expected - received) ** 2).sum())
    return 10 * np.log10(float((expected**2).sum()) / max(noise, 1e-30))
