"""Diagnose: the site that was broken is named first, a cure is found and proven."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import yaml

import gossamer
from gossamer import demo
from gossamer.compress import record as made
from gossamer.graph.sites import Site, sites
from gossamer.progress import Silent
from gossamer.search.prepare import Request, prepare
from gossamer.sources import find
from zoo import quantized

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("quick_clock")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained network, its data, and its int8 file by ONNX Runtime's quantizer."""
    folder = tmp_path_factory.mktemp("trained")
    train, test = demo.digits()
    module = demo.network()
    demo.fit(module, train, Silent(), epochs=1)
    demo.write(module, folder, train, test)
    float_file = folder / demo.MODEL
    quantized.by_ort(float_file, folder / "int8.onnx", [x[None] for x in train.images[:32]])
    return folder


def broken(trained: Path, out: Path) -> Site:
    """The file with one range that is much too narrow; the site that reads it."""
    opened = find(str(trained / "int8.onnx")).open(out / "opened").path
    found = sites(ir.load(opened).graph)
    counts = [read.value for site in found for read in site.reads]
    chosen = next(s for s in found[2:] if s.op == "Conv" and counts.count(s.reads[0].value) == 1)
    quantized.narrowed(opened, out / "broken.onnx", chosen)
    return chosen


def test_the_broken_site_is_named_first_and_the_cure_restores_the_score(
    trained: Path, tmp_path: Path
) -> None:
    chosen = broken(trained, tmp_path)

    found = gossamer.diagnose(
        trained / demo.MODEL, tmp_path / "broken.onnx", task="classification",
        data=trained / demo.DATA, samples=200, max_drop="1pt", out=tmp_path / "out", apply=True,
        threads=1,
    )  # fmt: skip

    worst, second = found.sites[:2]
    assert worst.site == chosen.name
    assert f"activation {chosen.reads[0].value}: clipped" in worst.finding
    assert worst.alone_db is not None
    assert second.alone_db is not None
    assert worst.alone_db < second.alone_db - 6
    assert found.score < found.float_score - 0.02
    assert worst.without_score == pytest.approx(found.float_score, abs=0.02)
    assert found.outcome == "cured"
    assert found.cure is not None
    assert found.cure.score > found.float_score - 0.01 - 1e-9
    assert found.report["cured"] > found.report["given"]
    again = gossamer.rerun(tmp_path / "out" / "recipe.yaml", tmp_path / "again")
    assert again.sha256() == found.cure.files
    assert (tmp_path / "out" / "model" / "model.onnx").exists()
    document = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert document["schema_version"] == 1
    assert document["sites"][0]["site"] == chosen.name


def test_a_file_within_the_budget_has_nothing_to_cure(trained: Path, tmp_path: Path) -> None:
    found = gossamer.diagnose(
        trained / demo.MODEL, trained / "int8.onnx", task="classification",
        data=trained / demo.DATA, samples=100, max_drop="5pt", out=tmp_path / "out", threads=1,
    )  # fmt: skip

    assert (found.outcome, found.exit_code, found.cures) == ("healthy", 0, ())
    assert not (tmp_path / "out" / "recipe.yaml").exists()
    (last,) = [s for s in found.sites if s.op in ("Gemm", "MatMul")]
    assert last.without_db is None or last.without_db > 0


@pytest.mark.slow
def test_a_recipe_is_cured_by_another_rule_or_by_sites_in_float(
    trained: Path, tmp_path: Path
) -> None:
    """A percentile of 60 cuts off most of what counts."""
    request = Request(
        model=str(trained / demo.MODEL), task="classification", data=trained / demo.DATA,
        targets=("ort-cpu",),
    )  # fmt: skip
    record = made(prepare(request, tmp_path / "cache", tmp_path, Silent()), None)
    record["recipe"] = {"target": "ort-cpu"}
    record["recipe"]["graph-steps"] = [
        {"simplify": {}}, {"fuse": {}}, {"quantize-static": {"ranges": {"percentile": {"p": 60.0}}}}
    ]  # fmt: skip
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(record))

    found = gossamer.diagnose(
        trained / demo.MODEL, path, samples=100, max_drop="1pt", out=tmp_path / "out"
    )

    assert found.drop > 0.01
    assert found.outcome == "cured"
    assert found.cure is not None
    assert found.cure.label.startswith("static")
    assert any("clipped" in site.finding for site in found.sites[:3])
    assert all(np.isfinite(site.output_db or 0.0) for site in found.sites)


@pytest.mark.slow
def test_the_real_resnet_20_with_one_broken_range(real: Path, tmp_path: Path) -> None:
    model, rows = real / "cifar10" / "resnet20.onnx", _cifar(real, 120)
    np.savez(tmp_path / "data.npz", image=np.concatenate(rows), labels=np.arange(len(rows)) // 12)
    quantized.by_ort(model, tmp_path / "int8.onnx", rows[:32])
    chosen = broken(tmp_path, tmp_path)

    found = gossamer.diagnose(
        model, tmp_path / "broken.onnx", task="fidelity", data=tmp_path / "data.npz",
        max_drop="2%", out=tmp_path / "out",
    )  # fmt: skip

    assert found.sites[0].site == chosen.name
    assert found.outcome == "cured"


def _cifar(real: Path, count: int) -> list[np.ndarray]:
    from PIL import Image

    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    files = sorted((real / "cifar10" / "test").glob("*/*.jpg"))
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, count).astype(int)]
    images = [np.asarray(Image.open(f).convert("RGB"), np.float32) / 255 for f in chosen]
    return [((x - mean) / std).transpose(2, 0, 1)[None].astype(np.float32) for x in images]
