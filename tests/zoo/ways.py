"""Ways to quantize, as hypothesis draws them, and what they make of a drawn graph."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from hypothesis import strategies as st

from gossamer import plugins
from gossamer.graph.passes.simplify import simplify
from gossamer.graph.place import Wish, place
from gossamer.graph.roundings.adaround import Adaround
from gossamer.graph.roundings.gptq import Gptq
from gossamer.graph.roundings.hqq import Hqq
from gossamer.graph.roundings.nearest import Nearest
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_dynamic import QuantizeDynamic
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.quantize_weights import QuantizeWeights
from gossamer.graph.steps.simplify import Simplify
from gossamer.plan import Plan, Reason
from gossamer.run import observed_by
from gossamer.runtime import Feed
from gossamer.sources.onnx_file import OnnxFile
from gossamer.statistics import ChannelStatistics, Statistics
from gossamer.step import GraphContext, GraphStep
from gossamer.target import TargetSpec
from zoo import placed
from zoo.generated import Drawn
from zoo.growing import Draw
from zoo.placed import OPENVINO, ORT
from zoo.statistics import observed

EAGER = {"min_reduction": 0, "min_inputs": 0, "min_outputs": 0, "min_weights": 0}
# of two samples the default of the moving average would cut off most of the second
OTHERS = {"moving-average": {"c": 0.5}}
RANGES = tuple(
    plugins.load("ranges", name)(**OTHERS.get(name, {})) for name in plugins.names("ranges")
)
NOTHING = 1e-6  # mean square


class FloatError(Exception):
    """ONNX Runtime does not run the float graph itself."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One quantizing step with its options, for one target."""

    target: TargetSpec
    step: GraphStep


@dataclass(frozen=True, kw_only=True)
class Made:
    """The opened float graph and a quantized one.

    Attributes:
        plain: The float graph.
        graph: The quantized graph.
        plan: What was done at its sites.
        wanted: What the float graph says to each sample, in ONNX Runtime.
    """

    plain: ir.Model
    graph: ir.Model
    plan: Plan
    wanted: list[Feed]


@st.composite
def ways(draw: Draw, targets: tuple[TargetSpec, ...] = (ORT, OPENVINO)) -> Way:
    """Static steps mostly, with the default options half of the time.

    Most graphs are too small for int8 to pay: the target mostly does not ask for that.
    """
    target = draw(st.sampled_from(targets))
    if draw(st.sampled_from((True, True, True, False))):
        target = eager(target)
    kinds = ["default", "default", "static", "static"]
    kinds += ["weights"] if target.weight_only else []
    kinds += ["dynamic"] if target.dynamic else []
    kind = draw(st.sampled_from(kinds))
    if kind == "static":
        step: GraphStep = QuantizeStatic(
            ranges=draw(st.sampled_from(RANGES)),
            rounding=draw(st.sampled_from((Nearest(), Nearest(), Nearest(), Adaround()))),
            weight_bits=draw(st.sampled_from((8, 8, 7))),
            smoothing=draw(st.sampled_from(("none", "smoothquant", "cross-layer"))),
            correction=draw(st.sampled_from(("none", "analytic", "empirical"))),
        )
    elif kind == "weights":
        step = QuantizeWeights(
            bits=8,
            size=draw(st.sampled_from((16, 32))),
            symmetric=draw(st.booleans()),
            rounding=draw(st.sampled_from((Nearest(), Nearest(), Hqq(), Gptq()))),
            activation_aware=draw(st.sampled_from((False, False, False, True))),
        )
    else:
        step = QuantizeDynamic() if kind == "dynamic" else QuantizeStatic()
    return Way(target=target, step=step)


def eager(target: TargetSpec) -> TargetSpec:
    """The target, as if int8 paid wherever there is a kernel."""
    rules = [replace(rule, depthwise_after=None, **EAGER) for rule in target.rules]
    return replace(target, rules=tuple(rules))


def made(drawn: Drawn, way: Way) -> Made:
    """What `way` makes of a graph that is opened as a user's file is.

    Raises:
        FloatError: The float graph does not run.
    """
    content, wanted = _opened(drawn)
    known = simplify(ir.from_proto(onnx.load_model_from_string(content)))
    statistics = _statistics(known, way.target, drawn.feeds)
    plans: list[Plan] = []
    context = GraphContext(
        target=way.target,
        cpu="portable",
        calibration=placed.given(lambda _: statistics, *drawn.feeds),
        record=plans.append,
    )
    graph = ir.from_proto(onnx.load_model_from_string(content))
    for step in (Simplify(), Fuse(), way.step):
        graph = step.apply(graph, context)
    assert Reason.UNCALIBRATED not in {d.reason for d in plans[0].decisions}
    plain = ir.from_proto(onnx.load_model_from_string(content))
    return Made(plain=plain, graph=graph, plan=plans[0], wanted=wanted)


def _opened(drawn: Drawn) -> tuple[bytes, list[Feed]]:
    """The graph as it is kept, and what it says to every sample.

    ONNX Runtime takes no two nodes of one name, which opening mends.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ir.save(drawn.model, folder / "drawn.onnx")
        try:
            outputs((folder / "drawn.onnx").read_bytes(), drawn.feeds)
        except Exception as error:  # ONNX Runtime's own share no other base
            refusal: Exception | None = error
        else:
            refusal = None
        try:
            content = OnnxFile(text=str(folder / "drawn.onnx")).open(folder / "opened")
            found = content.path.read_bytes()
            return found, outputs(found, drawn.feeds)
        except Exception as error:
            if refusal is None:
                raise
            raise FloatError(f"{refusal} | {error}") from error


def outputs(content: bytes, feeds: tuple[Feed, ...], *, optimize: bool = True) -> list[Feed]:
    """What ONNX Runtime says to each feed, in one session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return [dict(zip(names, session.run(names, feed), strict=True)) for feed in feeds]


def worst(wanted: list[Feed], got: list[Feed]) -> float:
    """SQNR in dB of the worst output that is not next to nothing."""
    assert [*got[0]] == [*wanted[0]]
    found = [math.inf]
    for name in wanted[0]:
        a, b = (np.stack([rows[name] for rows in each]) for each in (wanted, got))
        assert a.shape == b.shape, name
        if a.dtype.kind == "f" and np.square(a).mean() > NOTHING:
            found.append(placed.sqnr(a, b))
    return min(found)


def _statistics(graph: ir.Model, target: TargetSpec, feeds: tuple[Feed, ...]) -> Statistics:
    """What calibration would find: every value of the simplified graph, whole."""
    context = GraphContext(
        target=target, cpu="portable", calibration=placed.given(None), record=lambda _: None
    )
    fused = Fuse().apply(ir.from_proto(ir.to_proto(graph)), context)
    wanted = observed_by(graph, [place(fused, target, Wish())])
    proto = ir.to_proto(graph)
    asked = [*dict.fromkeys((*wanted.values, *wanted.means))]
    known = {o.name for o in proto.graph.output} | set(feeds[0])
    proto.graph.output.extend(onnx.ValueInfoProto(name=v) for v in asked if v not in known)
    found = [
        feed | got
        for feed, got in zip(feeds, outputs(proto.SerializeToString(), feeds), strict=True)
    ]
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
    return ChannelStatistics(
        mean=rows.mean(axis=0), low=rows.min(axis=0), high=rows.max(axis=0), is_exact=True
    )
