"""A first success without any file of the user's: train a small network, then compress it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from gossamer import plugins, store
from gossamer.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from gossamer.progress import Progress
    from gossamer.result import Result

FOLDER = "demo"
MODEL = "digits.onnx"
DATA = "data"
INPUT = "image"
SIZE = 32  # the digits' 8 x 8 pixels, each 4 x 4 times: small pictures say little about speed
TEST_ROWS = 597
EPOCHS = 4
BATCH = 32
PEAK_RATE = 0.004


@dataclass(frozen=True, kw_only=True, eq=False)
class Digits:
    """Handwritten digits as a network reads them.

    Attributes:
        images: `[n, 1, 32, 32]`, 0 is paper and 1 is ink.
        labels: The digit, `[n]`.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def demo(out: Path, progress: Progress, *, budget: str = "60s", seed: int = 0) -> Result:
    """What `compress` makes of a residual network that was trained here on handwritten digits.

    The float model and its data stay in `out/demo`, so that `out/recipe.yaml` can be run again.

    Args:
        out: Replaced if an earlier demo wrote it.
        progress: Told how far the work is.
        budget: Time for the search, as `compress` takes it.
        seed: Seed of the data's split, the weights and the search.

    Raises:
        MissingDependency: torch or scikit-learn is not installed.
        OutputError: `out` holds something else.
    """
    plugins.require("torch", "demo", "training the demo's network")
    plugins.require("sklearn", "demo", "the demo's handwritten digits")
    from gossamer.compress import compress

    _check_is_ours(out)
    train, test = digits(seed)
    module = network(seed)
    fit(module, train, progress, seed=seed)
    found = accuracy(module, test)
    progress.note(f"The float network finds {found:.1%} of {len(test.labels)} test digits.")
    with store.folder(out / FOLDER) as folder:
        write(module, folder, train, test)
    return compress(
        out / FOLDER / MODEL,
        task="classification",
        data=out / FOLDER / DATA,
        max_drop="0.5pt",
        budget=budget,
        out=out,
        overwrite=True,
        seed=seed,
        progress=progress,
    )


def digits(seed: int = 0) -> tuple[Digits, Digits]:
    """scikit-learn's 1,797 digits at 32 x 32, drawn by seed: 1,200 to train with, 597 to test."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = found.images.astype(np.float32) / 16
    images = pixels.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)[:, None]
    labels = found.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    test, train = np.split(order, (TEST_ROWS,))
    return (
        Digits(images=images[train], labels=labels[train]),
        Digits(images=images[test], labels=labels[test]),
    )


def network(seed: int = 0) -> nn.Module:
    """A residual network of 43 million multiplications for one 32 x 32 image, untrained."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(channels)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm1(self.conv1(x)).relu()
            return cast("torch.Tensor", (x + self.norm2(self.conv2(y))).relu())

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = _reduction(1, 64)
            self.stage1 = Block(64)
            self.stage2 = nn.Sequential(_reduction(64, 128), Block(128))
            self.classes = nn.Linear(128, 10)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = self.stage2(self.stage1(self.stem(image)))
            return cast("torch.Tensor", self.classes(x.mean((2, 3))))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet().eval()


def fit(
    module: nn.Module, data: Digits, progress: Progress, *, epochs: int = EPOCHS, seed: int = 0
) -> None:
    """Trains `module` in place: Adam with a one-cycle learning rate, images moved by up to 2."""
    import torch

    random = np.random.default_rng(seed)
    steps = len(data.labels) // BATCH
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=epochs * steps)
    progress.stage("train", total=epochs)
    module.train()
    for _ in range(epochs):
        order = random.permutation(len(data.labels))
        for rows in np.split(order[: steps * BATCH], steps):
            shift = random.integers(-2, 3, 2)
            images = np.roll(data.images[rows], shift, axis=(2, 3))
            logits = module(torch.from_numpy(np.ascontiguousarray(images)))
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels[rows]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
            optimizer.step()
            schedule.step()
        progress.advance()
    module.eval()


def accuracy(module: nn.Module, data: Digits) -> float:
    """Share of digits that `module` finds."""
    import torch

    with torch.no_grad():
        starts = range(0, len(data.labels), BATCH)
        batches = [torch.from_numpy(data.images[i : i + BATCH]) for i in starts]
        found = torch.cat([module(images).argmax(1) for images in batches]).numpy()
    return float((found == data.labels).mean())


def _reduction(channels: int, more: int) -> nn.Module:
    """Half the width and height, and `more` channels."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels, more, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(more),
        nn.ReLU(),
    )


def write(module: nn.Module, folder: Path, train: Digits, test: Digits) -> None:
    """The float model, and data as the task `classification` reads it."""
    import onnx_ir as ir
    import torch

    from gossamer.export.to_graph import check_graph, to_graph
    from gossamer.source import ModuleExample

    example = ModuleExample(inputs={INPUT: torch.from_numpy(train.images[:2])})
    ir.save(to_graph(module, example), folder / MODEL)
    check_graph(module, example, folder / MODEL)
    for name, data in (("train", train), ("test", test)):
        content = io.BytesIO()
        np.savez_compressed(content, image=data.images, labels=data.labels)
        store.write_bytes(folder / DATA / f"{name}.npz", content.getvalue())


def _check_is_ours(out: Path) -> None:
    store.check_writable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / FOLDER / MODEL).is_file():
        raise OutputError(
            "a new or empty folder for the demo, or one that an earlier demo wrote",
            f"{out}, which holds something else",
            "Name another --out.",
        )
