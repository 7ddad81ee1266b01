"""Range rules on sampled statistics agree with the same rules on every element of every sample."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from gossamer import plugins
from gossamer.graph._histogram import Histogram
from gossamer.graph.calibrate import collect
from gossamer.graph.passes.simplify import simplify
from gossamer.graph.taps import Wanted
from gossamer.run import plan
from gossamer.runtime import Feed
from gossamer.sources import find
from gossamer.statistics import TensorStatistics

SAMPLES = 64
Rows = Iterator[NDArray[np.float32]]


def cifar10(real: Path) -> Rows:
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    files = sorted((real / "cifar10" / "train").glob("*/*.jpg"))
    for path in files[:: len(files) // SAMPLES][:SAMPLES]:
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
        yield ((pixels - mean) / std).transpose(2, 0, 1)[None]


def imagenet(real: Path) -> Rows:
    files = sorted((real / "imagenet_sample" / "images").iterdir())
    for path in files[1 :: len(files) // SAMPLES][:SAMPLES]:
        image = Image.open(path).convert("RGB").crop((14, 14, 241, 241))
        x = np.asarray(image, np.float32)[:, :, ::-1] - np.float32([104, 117, 123])
        yield x.transpose(2, 0, 1)[None]


def speech(real: Path) -> Rows:
    files = sorted((real / "speech_commands" / "calibration").glob("*/*.wav"))
    for path in files[:SAMPLES]:
        with wave.open(str(path)) as sound:
            x = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32)
        yield np.pad(x / 32768, (0, max(0, 16000 - len(x))))[None, :16000]


class Everything:
    """The statistics of all elements of a value."""

    def __init__(self) -> None:
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.histogram: Histogram | None = None

    def add(self, x: NDArray[np.float32]) -> None:
        low, high = float(x.min()), float(x.max())
        self.histogram = self.histogram or Histogram(low, high)
        self.histogram.cover(low, high)
        self.histogram.add(x.ravel())
        self.lows.append(low)
        self.highs.append(high)

    def statistics(self) -> TensorStatistics:
        assert self.histogram is not None
        low, high = self.histogram.edges
        return TensorStatistics(
            low=min(self.lows),
            high=max(self.highs),
            sample_low=np.array(self.lows, np.float32),
            sample_high=np.array(self.highs, np.float32),
            counts=self.histogram.counts,
            edge_low=low,
            edge_high=high,
        )


def everything(model: ir.Model, values: list[str], feeds: list[Feed]) -> dict[str, Everything]:
    """What plain onnxruntime gives out for each value, the graph's own outputs replaced."""
    known = {o.name: o for node in model.graph for o in node.outputs}
    inner = [v for v in values if v in known]
    for name in inner:
        known[name].type = ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs[:] = [known[name] for name in inner]
    content = ir.serde.serialize_model(model).SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = {name: Everything() for name in values}
    for feed in feeds:
        got = dict(zip(inner, session.run(inner, feed), strict=True)) | feed
        for name in values:
            found[name].add(got[name])
    return found


@pytest.mark.parametrize(
    ("file", "rows"),
    [
        ("cifar10/resnet20.onnx", cifar10),
        ("imagenet_sample/squeezenet.onnx", imagenet),
        ("speech_commands/kwt1.onnx", speech),
    ],
)
def test_every_rule_is_within_2_percent_of_the_range_from_all_elements(
    real: Path, tmp_path: Path, file: str, rows: Callable[[Path], Rows]
) -> None:
    source = find(str(real / file)).open(tmp_path)
    model = simplify(ir.load(source.path))
    known = {o.name for node in model.graph for o in node.outputs} | {source.inputs[0].name}
    values = [v for v in plan(source, "ort-cpu", "portable").values if v in known]
    feeds: list[Feed] = [{source.inputs[0].name: x} for x in rows(real)]

    sampled = collect(model, Wanted(values=values), lambda: iter(feeds), samples=SAMPLES, threads=1)

    assert len(values) > 20
    strayed = {}
    for name, full in everything(model, values, feeds).items():
        wanted, tensor = full.statistics(), sampled.tensor(name)
        # kernels of another graph and number of threads may differ in the last bit
        assert np.allclose(tensor.sample_high, wanted.sample_high, rtol=1e-6, atol=0)
        lows = (np.minimum(x.sample_low, 0) for x in (tensor, wanted))
        assert np.allclose(*lows, rtol=1e-6, atol=0)
        for rule in plugins.names("ranges"):
            member = plugins.load("ranges", rule)()
            for symmetric in (False, True):
                low, high = member.range(wanted, symmetric=symmetric)
                near = member.range(tensor, symmetric=symmetric)
                error = max(abs(near[0] - low), abs(near[1] - high)) / (high - low)
                if error > 0.02:
                    strayed[name, rule, symmetric] = round(error, 4)
    assert strayed == {}
