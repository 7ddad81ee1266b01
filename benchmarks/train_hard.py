"""Models that lose accuracy in int8, made from the real data: files go to benchmarks/cache/hard.

    python benchmarks/train_hard.py [NAME ...] [--real DIR]

depthwise  a net of depthwise and pointwise convolutions, trained on CIFAR-10 in 10 minutes at most:
           what its channels hold differs from channel to channel
resnet20   the real one; in each block two channels between the convolutions are 50 times as large,
           and the weights behind them a 50th: the same function
minilm     the real one; in each layer every eighth channel of the attention's values is 50 times as
           large, and the weights behind them a 50th: the same function

What is there already is not made again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from torch import nn

HARD = Path(__file__).resolve().parent / "cache" / "hard"
REAL = Path("../shared/real")
FACTOR = 50.0
OUTLIERS = 2  # of 16, 32 or 64 channels
EVERY = 8  # of 384 channels
EPOCHS, BATCH, RATE = 40, 128, 2e-3
LONGEST = 540  # seconds of training


def place(name: str) -> Path:
    """Where the file or folder of a hard model lies once it was made."""
    return HARD / (name if name == "minilm" else f"{name}.onnx")  # a Hugging Face folder


def made(name: str, real: Path = REAL) -> Path:
    """The same, made now if it is not there."""
    path = place(name)
    if not path.exists():
        HARD.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}")
        MAKERS[name](real, scratch)
        scratch.replace(path)
    return path


def depthwise(real: Path, out: Path) -> None:
    """Train the net and export it."""
    import torch

    torch.manual_seed(0)
    images, labels = _cifar10(real)
    model = _net()
    batches = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, batches)
    begin = time.monotonic()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images))
        for i in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[i : i + BATCH]
            loss = torch.nn.functional.cross_entropy(model(_varied(images[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds = time.monotonic() - begin
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, {seconds:.0f} s", file=sys.stderr)
        if seconds > LONGEST:
            break
    torch.onnx.export(
        model.eval(), (images[:1],), out, input_names=["image"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False,
    )  # fmt: skip


def _net() -> nn.Module:
    from torch import nn

    def convolution(inputs: int, outputs: int, size: int, stride: int, groups: int) -> list[Any]:
        layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]

    layers, width = convolution(3, 32, 3, 1, 1), 32
    for outputs, stride in ((64, 1), (96, 2), (96, 1), (192, 2), (192, 1), (256, 1)):
        layers += convolution(width, width, 3, stride, width)
        layers += convolution(width, outputs, 1, 1, 1)
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def _cifar10(real: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The training images as score.py feeds them, and their classes."""
    import torch
    from PIL import Image

    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    names = sorted(folder.name for folder in (real / "cifar10/train").iterdir())
    paths = sorted((real / "cifar10/train").glob("*/*.jpg"))
    pixels = np.stack([np.asarray(Image.open(p).convert("RGB"), np.float32) for p in paths])
    images = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
    classes = [names.index(p.parent.name) for p in paths]
    return torch.from_numpy(np.ascontiguousarray(images)), torch.tensor(classes)


def _varied(images: torch.Tensor) -> torch.Tensor:
    """Flipped or not, and moved by up to 4 pixels."""
    import torch

    if torch.rand(()) < 0.5:
        images = images.flip(3)
    x, y = torch.randint(0, 9, (2,)).tolist()
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    return padded[:, :, y : y + 32, x : x + 32]


def resnet20(real: Path, out: Path) -> None:
    """Plant outliers between the two convolutions of each block."""
    import onnx_ir as ir

    model = ir.load(real / "cifar10/resnet20.onnx")
    random = np.random.default_rng(0)
    planted = 0
    for first in model.graph:
        relu = _only_reader(first.outputs[0], "Relu") if first.op_type == "Conv" else None
        second = _only_reader(relu.outputs[0], "Conv") if relu is not None else None
        if second is None:
            continue
        channels = first.inputs[1].shape[0]
        sizes = np.ones(channels, np.float32)
        sizes[random.choice(channels, OUTLIERS, replace=False)] = FACTOR
        _scale(first.inputs[1], sizes[:, None, None, None])
        _scale(first.inputs[2], sizes)
        _scale(second.inputs[1], 1 / sizes[None, :, None, None])
        planted += 1
    if planted != 9:
        raise SystemExit(f"resnet20 has 9 blocks, {planted} were found")
    ir.save(model, out)


def _only_reader(value: ir.Value, op: str) -> ir.Node | None:
    readers = [use.node for use in value.uses()]
    return readers[0] if len(readers) == 1 and readers[0].op_type == op else None


def _scale(value: ir.Value | None, sizes: np.ndarray) -> None:
    import onnx_ir as ir

    if value is None or value.const_value is None or len(value.uses()) != 1:
        raise SystemExit("a Conv without a weight and a bias of its own")
    array = (value.const_value.numpy() * sizes).astype(np.float32)
    value.const_value = ir.Tensor(array, name=value.name)


def minilm(real: Path, out: Path) -> None:
    """Plant outliers in what the attentions of all layers give to the products behind them."""
    import torch
    import transformers

    source = real / "minilm_sst2"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(source).float()
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            value, dense = layer.attention.self.value, layer.attention.output.dense
            value.weight[::EVERY] *= FACTOR
            value.bias[::EVERY] *= FACTOR
            dense.weight[:, ::EVERY] /= FACTOR
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    for path in source.iterdir():
        if not (out / path.name).exists() and path.suffix != ".safetensors":
            shutil.copyfile(path, out / path.name)


MAKERS = {"depthwise": depthwise, "resnet20": resnet20, "minilm": minilm}


def main() -> None:
    """Make those that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--real", type=Path, default=REAL)
    asked = parser.parse_args()
    if wrong := set(asked.names) - set(MAKERS):
        parser.error(f"no model {', '.join(wrong)}; there are {', '.join(MAKERS)}")
    for name in asked.names or MAKERS:
        print(made(name, asked.real))


if __name__ == "__main__":
    main()
