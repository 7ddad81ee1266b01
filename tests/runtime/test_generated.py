"""Whatever graph comes: its int8 graphs load, run and follow the float model in ONNX Runtime."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import HealthCheck, given, settings

from gossamer import plugins
from gossamer.errors import MeasureError
from gossamer.graph.passes.simplify import simplify
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_dynamic import QuantizeDynamic
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.plan import Plan, Reason
from gossamer.run import observed_by, plan, save
from gossamer.runtime import Feed
from gossamer.source import FloatModel
from gossamer.sources import find
from gossamer.statistics import ChannelStatistics, Statistics
from gossamer.step import GraphContext, GraphStep
from zoo import placed
from zoo.generated import Drawn, models
from zoo.statistics import observed

# what is written for OpenVINO is standard ONNX, which ONNX Runtime runs too; OpenVINO itself
# crashes on some of the float graphs
WAYS: tuple[tuple[str, GraphStep], ...] = (
    *(("ort-cpu", QuantizeStatic()), ("openvino-cpu", QuantizeStatic())),
    ("ort-cpu", QuantizeDynamic()),
)
LEAST_SQNR = 8.0  # dB; what computes something else has about 0
NOTHING = 1e-6  # mean square
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


@settings(max_examples=60, derandomize=True, suppress_health_check=SLOW)
@given(drawn=models())
def test_generated_graphs(drawn: Drawn) -> None:
    check(drawn)


def check(drawn: Drawn) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ir.save(drawn.model, folder / "drawn.onnx")
        model = find(str(folder / "drawn.onnx")).open(folder / "opened")
        try:
            wanted = [_outputs(model.path, feed) for feed in drawn.feeds]
        except MeasureError:  # a Conv inside an If that shares a weight with one outside
            return
        statistics = _statistics(model, drawn.feeds)
        for target, step in WAYS:
            plans: list[Plan] = []
            context = GraphContext(
                target=plugins.load("targets", target),
                cpu="portable",
                statistics=lambda _: statistics,
                record=plans.append,
            )
            graph = ir.load(model.path)
            for each in (Simplify(), Fuse(), step):
                graph = each.apply(graph, context)
            save(graph, folder / "int8" / "model.onnx")
            assert Reason.UNCALIBRATED not in {d.reason for d in plans[0].decisions}
            got = [_outputs(folder / "int8" / "model.onnx", feed) for feed in drawn.feeds]
            assert _worst(wanted, got) > LEAST_SQNR, (target, step)


def _outputs(path: Path, feed: Feed) -> Feed:
    return plugins.load("runtimes", "ort")().open(path, threads=1).run(feed)


def _worst(wanted: list[Feed], got: list[Feed]) -> float:
    """SQNR in dB of the worst output that is not next to nothing."""
    assert [*got[0]] == [*wanted[0]]
    found = [math.inf]
    for name in wanted[0]:
        a, b = (np.stack([rows[name] for rows in each]) for each in (wanted, got))
        if np.square(a).mean() > NOTHING:
            found.append(placed.sqnr(a, b))
    return min(found)


def _statistics(model: FloatModel, feeds: tuple[Feed, ...]) -> Statistics:
    """What calibration would find: every value of the simplified graph, whole."""
    graph = simplify(ir.load(model.path))
    plans = [plan(model, name, "portable") for name in ("ort-cpu", "openvino-cpu")]
    wanted = observed_by(graph, plans)
    proto = ir.to_proto(graph)
    asked = [*dict.fromkeys((*wanted.values, *wanted.means))]
    known = {o.name for o in proto.graph.output} | set(feeds[0])
    proto.graph.output.extend(onnx.ValueInfoProto(name=v) for v in asked if v not in known)
    found = [{**feed, **placed.run(proto, feed)} for feed in feeds]
    return Statistics(
        tensors={v: observed([f[v] for f in found]) for v in wanted.values},
        channels={
            v: _channels(np.stack([f[v] for f in found]), axis) for v, axis in wanted.means.items()
        },
        samples=len(feeds), seconds=0.0, plain_seconds=0.0, peak_rss_bytes=0, plain_rss_bytes=0,
    )  # fmt: skip


def _channels(values: np.ndarray, axis: int) -> ChannelStatistics:
    rows = np.moveaxis(values, axis % (values.ndim - 1) + 1, -1)
    rows = rows.reshape(-1, rows.shape[-1])
    return ChannelStatistics(mean=rows.mean(axis=0), low=rows.min(axis=0), high=rows.max(axis=0))
