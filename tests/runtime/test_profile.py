"""Kernels timed in real runtimes, and what compress makes of them. No test asserts a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

import gossamer
from gossamer.costs import Costs
from gossamer.measure.kernels import ROUNDS, time_kernels
from gossamer.progress import Silent
from zoo import runnable, whole


class Notes(Silent):
    """Keeps what a person would have been told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole.classifier(tmp_path_factory.mktemp("model") / "small.onnx")


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("costs")


@pytest.fixture(scope="module")
def profiled(model: Path, costs: Path) -> dict[str, Any]:
    return gossamer.profile(model, costs=costs, targets=["ort-cpu"], threads=1)


def test_every_kind_of_operator_is_timed_in_both_types(profiled: dict[str, Any]) -> None:
    (entry,) = profiled["targets"]
    kernels = {row["kernel"].split()[0] for row in entry["kernels"]}
    assert kernels == {"Conv", "GlobalAveragePool", "MatMul"}
    assert all(row["float32_ms"] is not None for row in entry["kernels"])
    assert all(row["int8_ms"] is not None for row in entry["kernels"])
    assert entry["total_ms"]["cheapest"] == min(entry["total_ms"].values())
    assert entry["seconds"] > 0.0


def test_what_is_known_is_not_timed_again(
    model: Path, costs: Path, profiled: dict[str, Any]
) -> None:
    again = gossamer.profile(model, costs=costs, targets=["ort-cpu"], threads=1)
    (first,), (second,) = profiled["targets"], again["targets"]
    assert second["seconds"] == 0.0
    assert second["kernels"] == first["kernels"]


@pytest.mark.usefixtures("profiled")
def test_a_file_of_another_machine_is_told_and_replaced(
    model: Path, costs: Path, tmp_path: Path
) -> None:
    (own,) = costs.iterdir()
    foreign = json.loads(own.read_text())
    foreign["machine"]["cpu"] = "another CPU"
    (tmp_path / own.name).write_text(json.dumps(foreign))
    notes = Notes()

    gossamer.profile(model, costs=tmp_path, targets=["ort-cpu"], threads=1, progress=notes)

    assert any("another CPU" in text for text in notes.said)
    assert json.loads((tmp_path / own.name).read_text())["machine"] != foreign["machine"]


@pytest.mark.slow
@pytest.mark.usefixtures("profiled")
def test_compress_leaves_slow_sites_in_float_in_a_recipe_that_needs_no_times(
    model: Path, costs: Path, tmp_path: Path
) -> None:
    """The kernels' times are made up here, so that int8 loses at one of the sites."""
    (file,) = costs.iterdir()
    plain = json.loads(file.read_text())
    for signature, kernel in plain["kernels"].items():
        is_slow = signature.startswith("GlobalAveragePool")
        kernel["float32"], kernel["int8"] = [1e-3], [2e-3 if is_slow else 5e-4]
    plain["overhead"] = plain["overhead"] and [0.0]
    (tmp_path / "costs").mkdir()
    (tmp_path / "costs" / file.name).write_text(json.dumps(plain))

    result = gossamer.compress(
        model, targets=["ort-cpu"], threads=1, max_drop="90%", costs=tmp_path / "costs",
        data=whole.samples(tmp_path / "rows.npz", 16), out=tmp_path / "out",
    )  # fmt: skip

    (placed,) = [c for c in result.candidates if c.label.endswith("measured placement")]
    assert placed.status == "ok", placed.reason
    step = placed.recipe["graph-steps"][-1]["quantize-static"]
    told = {site: (reason, detail) for site, _, reason, detail in placed.plan}
    assert step["placement"] == "uniform"
    assert len(step["slow"]) == 1
    reason, detail = told[step["slow"][0]]
    assert reason == "reverted:latency"
    assert "times as long here, with its conversions (" in detail
    (everywhere,) = [c for c in result.candidates if c.label.endswith("int8 everywhere")]
    assert everywhere.status == "ok", everywhere.reason
    assert all(reason == "quantized" for _, _, reason, _ in everywhere.plan)
    if result.placement is not None:  # the winner is of static int8: which one wins is noise
        assert result.placement["uniform"] == everywhere.id
        assert result.placement["mixed"] == result.winner.id


@pytest.mark.slow
def test_compress_goes_on_where_times_cannot_be_kept(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    notes = Notes()

    result = gossamer.compress(
        model, targets=["ort-cpu"], threads=1, max_drop="90%", costs=tmp_path / "file" / "costs",
        data=whole.samples(tmp_path / "rows.npz", 16), out=tmp_path / "out", progress=notes,
    )  # fmt: skip

    assert result.winner is not None
    assert any("measured placement on ort-cpu is not tried" in text for text in notes.said)


def test_a_model_that_is_refused_does_not_stop_the_others(tmp_path: Path) -> None:
    good = runnable.affine(tmp_path)
    fixed = ir.load(good)
    for value in fixed.graph.inputs:
        value.shape = ir.Shape([d if isinstance(d, int) else 2 for d in value.shape or ()])
    ir.save(fixed, tmp_path / "fixed.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")

    found = time_kernels("ort", tmp_path, ["broken.onnx", "fixed.onnx"], threads=1)

    assert found.keys() == {"fixed.onnx"}
    assert len(found["fixed.onnx"]) == ROUNDS
    assert all(seconds > 0.0 for seconds in found["fixed.onnx"])


@pytest.mark.usefixtures("profiled")
def test_costs_are_read_by_the_machine_that_wrote_them(costs: Path) -> None:
    from gossamer import plugins
    from gossamer.search.kernels import machine

    (file,) = costs.iterdir()
    here = machine(plugins.load("targets", "ort-cpu"), 1)
    found = Costs.parse(json.loads(file.read_text()), here)
    assert found.machine.runtime.startswith("onnxruntime ")
    assert all(len(k.float32) == ROUNDS for k in found.kernels.values())
