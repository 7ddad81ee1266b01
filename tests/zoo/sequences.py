"""A small classifier of sequences with data, and sweeps over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml

WIDTH, INNER, CLASSES = 16, 96, 4


def classifier(path: Path) -> Path:
    """Products and sums over `x` [batch, sequence, 16], averaged, as `logits`."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18]>
        g (float[batch, sequence, {WIDTH}] x) => (float[batch, {CLASSES}] logits)
        <int64[1] axis = {{1}}>
        {{ a = MatMul(x, w1)
           b = Add(a, b1)
           c = Relu(b)
           d = MatMul(c, w2)
           e = Add(d, x)
           mean = ReduceMean <keepdims = 0> (e, axis)
           logits = MatMul(mean, w3) }}"""
    )
    shapes = {"w1": (WIDTH, INNER), "b1": (INNER,), "w2": (INNER, WIDTH), "w3": (WIDTH, CLASSES)}
    for name, shape in shapes.items():
        weight = rng.standard_normal(shape) / np.sqrt(shape[0])
        raw = weight.astype("<f4").tobytes()
        tensor = onnx.TensorProto(
            name=name, dims=shape, data_type=onnx.TensorProto.FLOAT, raw_data=raw
        )
        model.graph.initializer.append(tensor)
    onnx.save(model, path)
    return path


def samples(path: Path, rows: int = 48) -> Path:
    """Noise of eight steps, with labels that no model can know."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, 8, WIDTH)).astype(np.float32)
    np.savez(path, x=x, labels=np.arange(rows) % CLASSES)
    return path


def folder(path: Path) -> Path:
    """The model as `small.onnx` and the data in `texts`, both in `path`."""
    classifier(path / "small.onnx")
    (path / "texts").mkdir()
    samples(path / "texts" / "dev.npz")
    return path


def run_of(folder: Path, **more: Any) -> dict[str, Any]:
    """A run as Optimum has it, with short times."""
    return {
        "model_name_or_path": str(folder / "small.onnx"),
        "task": "classification",
        "dataset": {"path": str(folder / "texts"), "eval_split": "dev"},
        "framework": "onnxruntime",
        "framework_args": {"intra_op_num_threads": 1},
        "batch_sizes": [1],
        "input_lengths": [4],
        "time_benchmark_args": {"duration": 0.01},
        **more,
    }


def written(path: Path, runs: Any) -> Path:
    path.write_text(yaml.safe_dump(runs), encoding="utf-8")
    return path
