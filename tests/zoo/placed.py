"""Tiny graphs with weights for placement, and their Q/DQ with ranges from one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.graph import qdq
from gossamer.graph.bias import channel_axes
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.place import Wish, place
from gossamer.graph.smooth import factors
from gossamer.graph.steps.quantize_static import parameters
from gossamer.measure.environment import cpu_level
from gossamer.plan import Decision, Plan
from gossamer.statistics import ChannelStatistics, Statistics, TensorStatistics
from gossamer.step import Calibration
from gossamer.target import TargetSpec

Feed = dict[str, NDArray[np.generic]]
CPU = cpu_level()  # of the machine that runs the tests
ORT: TargetSpec = plugins.load("targets", "ort-cpu")
OPENVINO: TargetSpec = plugins.load("targets", "openvino-cpu")
ORT_CUDA: TargetSpec = plugins.load("targets", "ort-cuda")
TENSORRT: TargetSpec = plugins.load("targets", "tensorrt")
TORCH: TargetSpec = plugins.load("targets", "torch-cpu")


def graph(text: str, seed: int = 0, **constants: tuple[int, ...] | NDArray[np.generic]) -> ir.Model:
    """`text` is the inside of an ONNX text graph; a constant is an array or a shape to fill."""
    more = ', "com.microsoft": 1' if "com.microsoft" in text else ""
    source = f'<ir_version: 9, opset_import: ["": 18{more}]> g {text}'
    model = ir.from_proto(onnx.parser.parse_model(source))
    generator = np.random.default_rng(seed)
    for name, content in constants.items():
        array = content
        if isinstance(content, tuple):
            array = generator.standard_normal(content).astype(np.float32) / 4
        tensor = ir.Tensor(np.asarray(array), name=name)
        value = next(v for n in model.graph for v in n.inputs if v is not None and v.name == name)
        fresh = ir.Value(
            name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype)
        )
        value.replace_all_uses_with(fresh)
        model.graph.inputs[:] = [v for v in model.graph.inputs if v.name != name]
        model.graph.register_initializer(fresh)
    for index, node in enumerate(model.graph):
        node.name = f"{node.op_type.lower()}{index}"
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model))
    return ir.from_proto(proto)


def conv_relu_conv() -> ir.Model:
    return graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  r = Relu(a)
        y = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) }""",
        w1=(16, 16, 3, 3), b1=(16,), w2=(16, 16, 3, 3), b2=(16,),
    )  # fmt: skip


def residual() -> ir.Model:
    return graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  r = Relu(a)
        b = Conv <pads = [1, 1, 1, 1]> (r, w2, b2)  s = Add(b, r)  t = Relu(s)
        y = Conv <pads = [1, 1, 1, 1]> (t, w3) }""",
        w1=(16, 16, 3, 3), b1=(16,), w2=(16, 16, 3, 3), b2=(16,), w3=(16, 16, 3, 3),
    )  # fmt: skip


def block() -> ir.Model:
    """Two projections of one normalised value, and a classifier."""
    return graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) {
        n = LayerNormalization <axis = -1> (x, g)  p = MatMul(n, w1)  q = Add(p, b1)
        h = Tanh(q)  k = MatMul(n, w2)  m = Add(h, k)  y = MatMul(m, w3) }""",
        g=np.ones(128, np.float32), w1=(128, 128), b1=(128,), w2=(128, 128), w3=(128, 128),
    )  # fmt: skip


def feed(model: ir.Model, seed: int = 1) -> Feed:
    """Noise; open dimensions are 1."""
    generator = np.random.default_rng(seed)
    shapes = {
        v.name or "": [d if isinstance(d, int) else 1 for d in v.shape or ()]
        for v in model.graph.inputs
    }
    return {name: generator.standard_normal(s).astype(np.float32) for name, s in shapes.items()}


def given(statistics: Callable[[Sequence[str]], Statistics], *feeds: Feed) -> Calibration:
    """What steps get to know of the data."""
    return Calibration(statistics=statistics, feeds=lambda: iter(feeds))


def observed(model: ir.Model, values: tuple[str, ...], data: Feed) -> Statistics:
    proto = ir.to_proto(model)
    axes = channel_axes(model.graph, {v.name or "" for n in model.graph for v in n.inputs if v})
    known = {o.name for o in proto.graph.output} | set(data)
    proto.graph.output.extend(onnx.ValueInfoProto(name=v) for v in {*values, *axes} - known)
    found = {**data, **run(proto, data)}
    return Statistics(
        tensors={v: _statistics(found[v]) for v in values},
        channels={v: _channels(found[v], axis) for v, axis in axes.items()},
        samples=1, seconds=0.0, plain_seconds=0.0, peak_rss_bytes=0, plain_rss_bytes=0,
    )  # fmt: skip


def _statistics(array: NDArray[np.generic]) -> TensorStatistics:
    low, high = float(array.min()), float(array.max())
    ends = np.array([[low], [high]], np.float32)
    counts = np.ones(2048, np.int64)
    return TensorStatistics(
        low=low, high=high, sample_low=ends[0], sample_high=ends[1], counts=counts,
        edge_low=min(low, 0.0), edge_high=max(high, 0.0),
    )  # fmt: skip


def _channels(array: NDArray[np.generic], axis: int) -> ChannelStatistics:
    rows = np.moveaxis(array.astype(np.float32), axis, -1).reshape(-1, array.shape[axis])
    return ChannelStatistics(
        mean=rows.mean(axis=0), low=rows.min(axis=0), high=rows.max(axis=0), is_exact=True
    )


def run(
    model: onnx.ModelProto, data: Feed, optimized: Path | None = None, *, optimize: bool = True
) -> Feed:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, data), strict=True))


def quantized(
    model: ir.Model, target: TargetSpec = ORT, wish: Wish | None = None, data: Feed | None = None
) -> tuple[ir.Model, Plan]:
    """A copy of `model` with Q/DQ, and its plan; right on this CPU unless `wish` says otherwise."""
    plan = place(model, target, wish or Wish(cpu=CPU))
    statistics = observed(model, plan.values, data or feed(model))
    copy = ir.from_proto(ir.to_proto(model))
    smoothing = factors(copy.graph, plan, statistics, MinMax())
    numbers = parameters(plan, statistics, MinMax(), smoothing)
    means = {name: channels.mean for name, channels in statistics.channels.items()}
    return qdq.write(copy, plan, numbers, smoothing, means), plan


def decision(plan: Plan, site: str) -> Decision:
    return next(d for d in plan.decisions if d.site == site)


def sqnr(reference: NDArray[np.generic], got: NDArray[np.generic]) -> float:
    noise = np.square(reference.astype(np.float64) - got).sum() + 1e-30
    return float(10 * np.log10(np.square(reference.astype(np.float64)).sum() / noise))


def agreement(model: ir.Model, other: ir.Model) -> float:
    """SQNR in dB of the first output over one feed, both in ONNX Runtime."""
    data = feed(model)
    a, b = run(ir.to_proto(model), data), run(ir.to_proto(other), data)
    name = model.graph.outputs[0].name or ""
    return sqnr(a[name], b[name])
