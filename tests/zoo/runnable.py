"""Tiny ONNX files for what runs models: each function writes one and gives its path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.runtime import Feed

SLOPE = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]], np.float32)
OFFSET = np.array([0.5, -0.5, 1.0], np.float32)


def affine(folder: Path, *, external: str | None = None) -> Path:
    """relu(x @ SLOPE + OFFSET) as `logits`, [batch, 3]; the weights beside it in `external`."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[batch, 2] x) => (float[batch, 3] logits)
        <float[2, 3] slope = {1.0, -2.0, 0.5, 0.25, 3.0, -1.0}, float[3] offset = {0.5, -0.5, 1.0}>
        { product = MatMul(x, slope)
          sum = Add(product, offset)
          logits = Relu(sum) }"""
    )
    path = folder / "affine.onnx"
    if external is None:
        onnx.save(model, path)
    else:
        ir.save(ir.serde.deserialize_model(model), path, external_data=external,
                size_threshold_bytes=0)  # fmt: skip
    return path


def affine_feed(batch: int = 2) -> Feed:
    return {"x": np.arange(2 * batch, dtype=np.float32).reshape(batch, 2) - 1}


def affine_by_hand(feed: Feed) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.maximum(feed["x"] @ SLOPE + OFFSET, 0)
    return result


def every_type(folder: Path) -> Path:
    """Inputs of five types come back under other names; `twin`, `kept`, `plain` are one tensor."""
    return _written(
        folder / "every_type.onnx",
        """g (float[batch, sequence] x, bool[batch] flag, bfloat16[2] brain, float16[2] half,
              int64[batch] count)
           => (float[batch, sequence] "out/same:0", float[batch, sequence] plain,
               float[batch, sequence] twin, float[batch, sequence] kept, bool[batch] not_flag,
               bfloat16[2] brain_out, float16[2] doubled, int64[batch] more)
        { "out/same:0" = Identity(x)
          plain = Relu(x)
          twin = Identity(plain)
          kept = Dropout(plain)
          not_flag = Not(flag)
          brain_out = Identity(brain)
          doubled = Add(half, half)
          more = Add(count, count) }""",
    )


def branching(folder: Path) -> Path:
    """relu(x) or |x|, as `flag` says, then a loop of three sines."""
    return _written(
        folder / "branching.onnx",
        """g (float[batch] x, bool flag) => (float[batch] y)
        <int64 three = {3}, bool yes = {1}>
        { chosen = If(flag) <
            then_branch = a () => (float[batch] p) { p = Relu(x) },
            else_branch = b () => (float[batch] q) { q = Abs(x) } >
          y = Loop(three, yes, chosen) < body = c (int64 i, bool go, float[batch] before)
            => (bool going, float[batch] after) { going = Identity(go)
                                                  after = Sin(before) } > }""",
    )


def counting(folder: Path) -> Path:
    """`turns` sines one after the other: with a large number it never ends."""
    return _written(
        folder / "counting.onnx",
        """g (int64 turns, float[8] x) => (float[8] y)
        <bool yes = {1}>
        { y = Loop(turns, yes, x) < body = b (int64 i, bool go, float[8] before)
            => (bool going, float[8] after) { going = Identity(go)
                                              after = Sin(before) } > }""",
    )


def counting_feed(turns: int) -> Feed:
    return {"turns": np.array(turns, np.int64), "x": np.ones(8, np.float32)}


def multiplying(folder: Path) -> Path:
    """A product that is large enough for several threads."""
    return _written(
        folder / "multiplying.onnx",
        "g (float[256, 256] x) => (float[256, 256] y) { y = MatMul(x, x) }",
    )


def allocating(folder: Path) -> Path:
    """The sum of `size` ones, which lie in memory for it."""
    return _written(
        folder / "allocating.onnx",
        """g (int64[1] size) => (float total)
        { ones = ConstantOfShape <value = float[1] {1.0}> (size)
          moved = Exp(ones)
          total = ReduceMean <keepdims = 0> (moved) }""",
    )


def wordy(folder: Path) -> Path:
    """A model of text, which no measured model can be."""
    return _written(folder / "wordy.onnx", "g (string[n] x) => (string[n] y) { y = Identity(x) }")


def garbage(folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(b"this is no model\n" * 50)
    return path


def _written(path: Path, graph: str) -> Path:
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> {graph}'), path)
    return path
