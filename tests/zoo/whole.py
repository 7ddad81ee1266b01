"""A small convolutional classifier with data, for what runs whole commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

SIDE, CHANNELS, CLASSES = 16, 32, 4


def classifier(path: Path) -> Path:
    """Two convolutions and a matrix product over `image` [batch, 3, 16, 16], as `logits`."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18]>
        g (float[batch, 3, {SIDE}, {SIDE}] image) => (float[batch, {CLASSES}] logits)
        {{ a = Conv <pads = [1, 1, 1, 1]> (image, w1)
           b = Relu(a)
           c = Conv <pads = [1, 1, 1, 1]> (b, w2)
           d = Relu(c)
           pooled = GlobalAveragePool(d)
           flat = Flatten(pooled)
           logits = MatMul(flat, w3) }}"""
    )
    shapes = {
        "w1": (CHANNELS, 3, 3, 3),
        "w2": (CHANNELS, CHANNELS, 3, 3),
        "w3": (CHANNELS, CLASSES),
    }
    for name, shape in shapes.items():
        weight = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        tensor = onnx.TensorProto(
            name=name, dims=shape, data_type=onnx.TensorProto.FLOAT,
            raw_data=weight.astype("<f4").tobytes(),
        )  # fmt: skip
        model.graph.initializer.append(tensor)
    onnx.save(model, path)
    return path


def samples(path: Path, rows: int = 96, *, seed: int = 1) -> Path:
    """Noise images, with labels that no model can know."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((rows, 3, SIDE, SIDE)).astype(np.float32)
    np.savez(path, image=image, labels=np.arange(rows) % CLASSES)
    return path
