"""The loop of the guide runs; ranges survive their text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gossamer import carried
from gossamer.quant import QParams
from zoo import trained

pytestmark = pytest.mark.torch


def test_the_loop_of_the_guide_writes_a_file_that_is_stored_with_its_ranges(
    repository: Path, tmp_path: Path
) -> None:
    text = (repository / "docs/guides/train-with-quantization.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    names: dict[str, object] = {}
    exec(code[1], names)
    path = tmp_path / "trained.onnx"

    names["train_quantized"](trained.pictures(), trained.batches, path, steps=2)  # type: ignore[operator]

    feeds = trained.samples(trained.labelled(1)[0][:8])
    _, plan = trained.quantized(path, "ort-cpu", feeds)
    assert all("adopted" in d.detail for d in plan.quantized)


def test_ranges_survive_their_text_and_what_is_none_gives_none() -> None:
    numbers = {
        "x": QParams(scale=np.array(0.1, np.float32), zero_point=np.array(7, np.uint8)),
        "w": QParams(scale=np.ones(3, np.float32), zero_point=np.zeros(3, np.int8), axis=1),
    }

    found = carried.parse(carried.dump(numbers))

    assert {n: (x.scale.tolist(), x.zero_point.tolist(), x.axis) for n, x in found.items()} == {
        n: (x.scale.tolist(), x.zero_point.tolist(), x.axis) for n, x in numbers.items()
    }
    assert found["x"].scale == np.float32(0.1)
    for text in (None, "", "[]", "{1", '{"x": {"scale": -1, "zero": 0, "dtype": "u1", "axis": 0}}'):
        assert carried.parse(text) == {}
