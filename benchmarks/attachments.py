"""What techniques add to a training step, and what a second process gains.

    python -m benchmarks.attachments [overhead] [processes] [--steps 15] [--table]

MiniLM's shape (6 layers of 384, batch 16 of 64 tokens) and ResNet-18 (batch 8 of 64 x 64 pixels),
both with random weights and AdamW; steps with a technique and without, in turns. No step here
updates masks; a whole training has about 32 that do. Processes of one thread each train MiniLM's
shape with a teacher, on the same batches of 32, one process and two in turns. One JSON line for
each row; it replaces the one of this name in results/attachments.json.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from benchmarks.kept import fill, keep
from torch import Tensor, nn

from gossamer.measure.environment import environment, physical_cores
from gossamer.progress import Silent
from gossamer.qat import prepare
from gossamer.report.table import markdown_table
from gossamer.source import ModuleExample
from gossamer.step import ModuleContext
from gossamer.train.attachment import Technique
from gossamer.train.prune.criteria.snip_momentum import SnipMomentum
from gossamer.train.prune.patterns.block import Block
from gossamer.train.steps.fit import Fit
from gossamer.train.techniques.distill import Distill
from gossamer.train.techniques.group_lasso import GroupLasso
from gossamer.train.techniques.quantize_aware import QuantizeAware
from gossamer.train.techniques.sparsify import Sparsify

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results" / "attachments.json", HERE.parent / "docs" / "training.md"
ROUNDS, WARM = 3, 3  # runs of each number of processes; steps that are not counted
TECHNIQUES: dict[str, Technique] = {
    "magnitude": Sparsify(sparsity=0.8, interval=1000, end=1.0),
    "snip-momentum 4x1": Sparsify(
        sparsity=0.8, criterion=SnipMomentum(), pattern=Block(), interval=1000, end=1.0
    ),
    "lock": Sparsify(lock=True),
    "group-lasso 4x1": GroupLasso(),
    "quantize-aware": QuantizeAware(),
}


Made = tuple[nn.Module, Callable[[nn.Module], Tensor], dict[str, Tensor]]


def minilm() -> Made:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    ids = torch.randint(0, config.vocab_size, (16, 64))
    labels = torch.randint(0, 2, (16,))
    inputs = {"input_ids": ids}
    return BertForSequenceClassification(config), lambda m: m(**inputs, labels=labels).loss, inputs


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


def resnet18() -> Made:
    widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    stages = [part for i, o, s in widths for part in (Residual(i, o, s), Residual(o, o, 1))]
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, 1, 1), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 9)
    )
    images, labels = torch.randn(8, 3, 64, 64), torch.randint(0, 9, (8,))
    return model, lambda m: nn.functional.cross_entropy(m(images), labels), {"input": images}


def timed(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[..., Tensor]) -> float:
    begin = time.perf_counter()
    optimizer.zero_grad()
    loss(model).backward()
    optimizer.step()
    return time.perf_counter() - begin


def overhead(steps: int) -> Iterator[dict[str, Any]]:
    """A row for each model and technique."""
    torch.set_num_threads(1)
    for make in (minilm, resnet18):
        for name, technique in TECHNIQUES.items():
            model, loss, inputs = make()
            other = copy.deepcopy(model)
            known = _known(technique, other, inputs)
            both = [(m, torch.optim.AdamW(m.parameters(), lr=1e-5)) for m in (model, other)]
            with technique.attach(*both[1], **known):
                for each in both:
                    timed(*each, loss)
                pairs = [[timed(*each, loss) for each in both] for _ in range(steps)]
            plain, held = zip(*pairs, strict=True)
            ratios = [b / a for a, b in zip(plain, held, strict=True)]
            low, median, high = statistics.quantiles(ratios, n=4)
            yield {
                "row": f"{make.__name__}, {name}",
                "step_ms": round(1000 * statistics.median(plain), 1),
                "added": round(median - 1, 4),
                "quartiles": [round(low - 1, 4), round(high - 1, 4)],
            }


def processes(steps: int) -> Iterator[dict[str, Any]]:
    """One row: how much faster two processes of one thread are than one."""
    pairs = [(launched(1, steps), launched(2, steps)) for _ in range(ROUNDS)]
    ratios = [one / two for one, two in pairs]
    yield {
        "row": "two processes",
        "step_ms": round(1000 * statistics.median(one for one, _ in pairs), 1),
        "faster": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def launched(count: int, steps: int) -> float:
    """Median seconds of a step in so many processes, without the first ones."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.attachments", "child", "--steps", str(steps)],
            env=alone | (shared | {"RANK": str(r), "LOCAL_RANK": str(r)} if count > 1 else {}),
            cwd=HERE.parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        for r in range(count)
    ]
    printed = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise SystemExit("a process of the training failed")
    return float(printed[0].splitlines()[-1])


class Noting(Silent):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def advance(self, count: int = 1) -> None:
        self.times += [time.perf_counter()] * count


class Sentences:
    """Batches of the same 32 tokens for each sample."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int, seed: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(start, self.count // size):
            ids = torch.randint(0, 30000, (size, 32), generator=generator)
            yield {"input_ids": ids, "labels": ids[:, 0] % 2}


def child(steps: int) -> None:
    """One of the processes; prints its median seconds of a step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student, teacher = minilm()[0], minilm()[0]
    step, noted = Fit(epochs=1, techniques=(Distill(),)), Noting()
    with tempfile.TemporaryDirectory() as folder:
        context = ModuleContext(
            training=Sentences(step.batch * steps),
            teacher=teacher.eval,
            seed=0,
            folder=Path(folder),
            progress=noted,
        )
        step.apply(student, context)
    ends = noted.times[WARM:]
    print(statistics.median(b - a for a, b in itertools.pairwise(ends)))


def _known(technique: Technique, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Any]:
    """What a technique needs to know; BatchNorms are folded for fake quantization."""
    if "spots" not in technique.needs:
        return {"steps": 100_000}
    example = ModuleExample(inputs=inputs, sequence=("input_ids",) if "input_ids" in inputs else ())
    spots = prepare(model.eval(), example, lambda: [inputs]).spots
    model.train()
    return {"spots": spots}


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each row."""
    lines = [
        [
            row["row"],
            f"{row['step_ms']:.0f}",
            f"{row['added']:+.1%}" if "added" in row else f"{row['faster']:.2f} times as fast",
            " to ".join(
                f"{x:+.1%}" if "added" in row else f"{x:.2f}"
                for x in row.get("quartiles", row.get("range"))
            ),
        ]
        for row in rows
    ]
    headers = ["what", "ms a step", "with it", "quartiles, or all runs"]
    return markdown_table(headers, lines, ("left", "right", "right", "right"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["overhead", "processes", "child", []])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--table", action="store_true", help="fill the table of docs/training.md")
    arguments = parser.parse_args()
    if "child" in arguments.parts:
        child(arguments.steps)
        return
    machine = environment(physical_cores())
    for part in (overhead, processes):
        if part.__name__ in arguments.parts:
            for row in part(arguments.steps):
                keep(RESULTS, {**row, "cpu": machine.cpu, "flags": machine.flags}, ("row",))
    if arguments.table:
        fill(PAGE, table(json.loads(RESULTS.read_text(encoding="utf-8"))), "attachments")


if __name__ == "__main__":
    main()
