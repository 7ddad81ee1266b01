"""`gossamer explain` on recipes."""

from __future__ import annotations

from pathlib import Path

import yaml


def test_explain_says_what_overrides_of_a_recipe_do(finished: Path, tmp_path: Path, call) -> None:
    record = yaml.safe_load((finished / "recipe.yaml").read_text())
    override = {"nodes": ["Conv"], "weight-bits": 7, "ranges": "mse"}
    steps = ["simplify", "fuse", {"quantize-static": {"overrides": [override]}}]
    record["recipe"] |= {"target": "ort-cpu", "graph-steps": steps}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(record))

    told = call("explain", path)
    assert told.code == 0, told.err
    assert told.out.startswith("ort-cpu, right on portable CPUs")
    assert told.out.count("override 1: ranges mse with candidates 100, weight-bits 7") == 2
    done = call("run", path, "--out", tmp_path / "made")
    assert done.code == 0, done.err

    assert call("explain", path, "--target", "ort-cpu").code == 2
    record["recipe"]["graph-steps"] = steps[:2]
    path.write_text(yaml.safe_dump(record))
    told = call("explain", path)
    assert told.code == 2
    assert "a recipe with the step quantize-static" in told.err


def test_explain_says_what_is_adopted_of_a_quantized_model(tmp_path: Path, call) -> None:
    import onnx

    from zoo import placed, quantized

    graph = placed.residual()
    source = tmp_path / "float.onnx"
    onnx.save(placed.ir.to_proto(graph), source)
    rows = [placed.feed(graph, seed)["x"] for seed in range(4)]
    theirs = quantized.by_ort(source, tmp_path / "int8.onnx", rows)
    told = call("explain", theirs, "--target", "ort-cpu")
    assert told.code == 0, told.err
    assert told.out.count("; adopted: ") == told.out.count(" quantized  ") == 4
