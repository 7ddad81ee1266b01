"""Recipes that train with fake quantization: from a float module to the int8 file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import onnx_ir as ir
import pytest
import yaml

import gossamer
from gossamer import carried
from gossamer.artifact import sha256
from gossamer.export.agree import outputs_on_ort
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.qat import Aim, prepare
from gossamer.spot import Spots

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
from gossamer.train.techniques.quantize_aware import QuantizeAware  # noqa: E402
from zoo import kills, trained  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("quick_clock")]
BITS = 2
FIT = {
    "fit": {
        "epochs": 4,
        "learning-rate": 2e-3,
        "techniques": [{"quantize-aware": {"weight-bits": BITS}}],
    }
}
STEP = QuantizeStatic(weight_bits=BITS)
STATIC = {"quantize-static": {"weight-bits": BITS}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a recipe that was run."""
    folder = tmp_path_factory.mktemp("quantized")
    steps = {"module-steps": [FIT], "graph-steps": ["simplify", "fuse", STATIC]}
    record = {
        "source": "zoo.trained:make",
        "task": "classification",
        "data": str(trained.write(folder, 1000, seed=9)),
        "training": str(trained.write(folder, 1024, seed=10)),
        "recipe": {"target": "ort-cpu", **steps},
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(record))
    gossamer.rerun(path, folder / "out")
    return folder / "out"


def test_training_takes_back_what_few_bits_cost(finished: Path) -> None:
    document = json.loads((finished / "stages.json").read_text())
    scores = {row["stage"]: row["score"] for row in document["stages"]}

    assert scores["files of the source"] < scores["float"] - 0.2
    assert scores["files"] > scores["float"] - 0.05
    assert document["float_while_training"] == {}


def fake_quantized(finished: Path) -> torch.nn.Module:
    """What training computed with in the end, from the weights and ranges that it left."""
    from safetensors.torch import load_file

    model, _ = trained.make()
    found = prepare(model, trained.EXAMPLE, trained.batches, Aim(step=STEP, samples=8))
    model.load_state_dict(load_file(finished / "module" / "weights.safetensors"))
    ranges = carried.beside(finished / "module")
    spots = [
        spot if spot.start is None else dataclasses.replace(spot, start=ranges[spot.values[0]])
        for spot in found.spots.spots
    ]
    # the largest weights, whole steps, say the steps of the others again
    QuantizeAware(learn_ranges=False, weight_bits=BITS).attach(
        model, spots=Spots(spots=tuple(spots))
    )
    return model.eval()


def test_the_files_score_what_training_computed(finished: Path) -> None:
    x, labels = trained.labelled(9, 1000)
    with torch.no_grad():
        expected = fake_quantized(finished)(x)
    (found,) = outputs_on_ort(finished / "model" / "model.onnx", [{"x": x.numpy()}])
    received = torch.from_numpy(next(iter(found.values())))

    scores = [float((y.argmax(1) == labels).float().mean()) for y in (expected, received)]
    assert scores[0] == pytest.approx(scores[1], abs=0.005)
    assert trained.sqnr(expected.numpy(), received.numpy()) > 35


def test_the_files_hold_the_ranges_that_lie_beside_the_weights(finished: Path) -> None:
    graph = ir.load(finished / "model" / "model.onnx").graph
    stored = {
        float(scale)
        for value in graph.initializers.values()
        if value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT
        for scale in value.const_value.numpy().ravel()
    }
    ranges = carried.beside(finished / "module")
    (kept,) = (finished / "cache" / "modules").glob("*/ranges.json")

    assert ranges
    assert {float(scale) for x in ranges.values() for scale in x.scale.ravel()} <= stored
    assert kept.read_text() == (finished / "module" / carried.FILE).read_text()


@pytest.mark.slow
def test_a_killed_run_finds_the_ranges_again(finished: Path, tmp_path: Path) -> None:
    recipe, out = finished / "recipe.yaml", tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        gossamer.rerun(recipe, out, kills.AtExport())
    (kept,) = (out / "cache" / "modules").glob("*/trained.safetensors")
    before = kept.stat().st_mtime_ns

    again = gossamer.rerun(recipe, out)

    assert kept.stat().st_mtime_ns == before
    assert again.sha256() == {name: sha256(finished / "model" / name) for name in again.files}
