"""Real models in Q/DQ for TensorRT: they keep to its rules and compute what the float models do.

ONNX Runtime's CPU kernels run the Q/DQ as the standard defines them; TensorRT does not run here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from gossamer import plugins
from gossamer.artifact import Artifact
from gossamer.graph import qdq
from gossamer.graph.place import Wish, place
from gossamer.plan import Plan
from gossamer.progress import Silent
from gossamer.quant import QParams
from gossamer.recipe import Recipe
from gossamer.run import calibrate, fused, run
from gossamer.search.ladder import static_recipe
from gossamer.sources import find
from gossamer.step import Calibration
from gossamer.task import DataRequest, Split
from gossamer.tasks import choose
from zoo.explicit import faults
from zoo.placed import TENSORRT, sqnr

ROWS = 32  # of the report split


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, its data, and what its outputs must agree to, in dB."""

    model: str
    task: str
    data: str
    least: float
    options: dict[str, Any] = field(default_factory=dict)


CASES = {  # 25.7, 20.4 and 22.0 dB when this was written
    "resnet20": Case(
        model="cifar10/resnet20.onnx",
        task="image-classification",
        data="cifar10",
        least=22,
        options={"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    ),
    "squeezenet": Case(
        model="imagenet_sample/squeezenet.onnx",
        task="image-classification",
        data="imagenet_sample",
        least=18,
        options={"crop": 227, "channel_order": "bgr", "scale": 1.0, "mean": "104,117,123"},
    ),
    "minilm_sst2": Case(
        model="minilm_sst2", task="text-classification", data="text/sst2_test.tsv", least=19
    ),
}


STRUCTURES = (
    "coco128/yolox_nano.onnx",  # depthwise, SiLU, Concat
    "coco128/prisma_person.onnx",  # ConvTranspose, Adds of every kind
    "speech_commands/kwt1.onnx",  # a spectrogram, attention
)


def written(case: Case, real: Path, folder: Path) -> tuple[Artifact, Artifact, Split]:
    """The float file, the one in Q/DQ, and rows that neither calibrated."""
    model = find(str(real / case.model)).open(folder / "float")
    task = choose(case.task, model, case.options)
    data = task.open(DataRequest(model=model, path=real / case.data))
    statistics = calibrate(
        model, {"tensorrt": ()}, data.calibration,
        cpu="portable", threads=2, seed=0, progress=Silent(),
    )  # fmt: skip
    known = Calibration(statistics=lambda _: statistics, feeds=data.calibration.feeds)
    plain = Recipe(target="tensorrt", precision="f32")
    recipes = {"plain": plain, "int8": static_recipe("tensorrt", "portable", 0)}
    plain_file, int8_file = (
        run(model, recipe, folder / name, known, Silent()) for name, recipe in recipes.items()
    )
    return plain_file, int8_file, data.report


@pytest.mark.torch
@pytest.mark.skipif(plugins.load("runtimes", "tensorrt")().is_installed(), reason="it is here")
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n == "minilm_sst2" else []) for n in CASES],
)
def test_a_real_model_keeps_to_the_rules_and_its_numbers(
    name: str, real: Path, tmp_path: Path
) -> None:
    case = CASES[name]
    plain, int8, rows = written(case, real, tmp_path)
    graph = ir.load(int8.path)

    assert int8.plan is not None
    assert faults(graph, int8.plan) == []
    assert residuals(graph, int8.plan)
    assert "trtexec" in int8.elsewhere
    assert agreement(plain, int8, rows) > case.least


@pytest.mark.parametrize("name", STRUCTURES)
def test_real_graphs_of_every_kind_keep_to_the_rules(name: str, real: Path, tmp_path: Path) -> None:
    graph = fused(find(str(real / name)).open(tmp_path), "tensorrt")
    plan = place(graph, TENSORRT, Wish())
    any_range = QParams(scale=np.array(0.1, np.float32), zero_point=np.array(0, np.int8))

    written = qdq.write(graph, plan, dict.fromkeys(plan.values, any_range))

    assert len(plan.quantized) > 10
    assert faults(written, plan) == []


def residuals(graph: ir.Model, plan: Plan) -> bool:
    """Whether the Adds behind int8 Convs, and no others, are sites."""
    convs = {d.site for d in plan.quantized if d.op == "Conv"}
    adds = {
        node.name
        for node in graph.graph
        if node.op_type == "Add"
        and any(
            v is not None and (p := v.producer()) is not None and p.name in convs
            for v in node.inputs
        )
    }
    sites = {d.site for d in plan.quantized if d.op == "Add"}
    return adds == sites


def agreement(plain: Artifact, int8: Artifact, rows: Split) -> float:
    """SQNR in dB of the first output over the first rows, on ONNX Runtime."""
    ort = plugins.load("runtimes", "ort")()
    sessions = [ort.open(artifact.path, threads=2) for artifact in (plain, int8)]
    assert {t.name for t in sessions[0].inputs} == {t.name for t in sessions[1].inputs}
    name = sessions[0].outputs[0].name
    feeds = [feed for feed, _ in zip(rows.feeds(), range(ROWS), strict=False)]
    first, second = (np.concatenate([s.run(f)[name] for f in feeds]) for s in sessions)
    return sqnr(first, second)
