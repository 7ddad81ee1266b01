"""`gossamer run` on recipes that people write."""

from __future__ import annotations

from pathlib import Path

import onnx
import yaml


def test_a_recipe_by_hand_leaves_out_what_can_be_found(
    model: Path, data: Path, tmp_path: Path, call
) -> None:
    steps = {"target": "ort-cpu", "graph-steps": ["simplify", "fuse", "quantize-static"]}
    record = {"source": str(model), "task": {"classification": {}}, "data": str(data)}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**record, "recipe": steps}))

    done = call("run", tmp_path / "mine.yaml", "--out", tmp_path / "mine")

    assert done.code == 0, done.err
    nodes = onnx.load(tmp_path / "mine" / "model" / "model.onnx").graph.node
    assert any(node.op_type == "QuantizeLinear" for node in nodes)
