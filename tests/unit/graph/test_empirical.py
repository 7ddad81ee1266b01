"""Empirical bias correction: means behind every bias, in the written model and the float one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from gossamer.errors import CalibrationError
from gossamer.graph import empirical, qdq
from gossamer.graph.bias import bias
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.place import Wish, place
from gossamer.graph.smooth import factors
from gossamer.graph.steps.quantize_static import parameters
from gossamer.plan import Plan
from gossamer.target import TargetSpec
from zoo.placed import CPU, OPENVINO, ORT, Feed, graph, observed, run

BITS = 3  # so that there is much to correct


def residual() -> ir.Model:
    return graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  r = Relu(a)
        b = Conv <pads = [1, 1, 1, 1]> (r, w2, b2)  s = Add(b, r)  t = Relu(s)
        y = Conv <pads = [1, 1, 1, 1]> (t, w3, b3) }""",
        w1=(16, 16, 3, 3), b1=(16,), w2=(16, 16, 3, 3), b2=(16,), w3=(16, 16, 3, 3), b3=(16,),
    )  # fmt: skip


def tokens() -> ir.Model:
    """Two products of one value, and one behind both."""
    return graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) {
        n = LayerNormalization <axis = -1> (x, g)  p = MatMul(n, w1)  q = Add(p, b1)  h = Tanh(q)
        k = MatMul(n, w2)  l = Add(k, b2)  m = Add(h, l)  o = MatMul(m, w3)  y = Add(b3, o) }""",
        g=np.ones(128, np.float32), w1=(128, 128), b1=(128,), w2=(128, 128), b2=(128,),
        w3=(128, 128), b3=(128,),
    )  # fmt: skip


def outlier() -> ir.Model:
    """One channel of the value in between is large, so that it comes multiplied."""
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  r = Relu(a)
        y = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) }""",
        w1=(16, 16, 3, 3), b1=(16,), w2=(16, 16, 3, 3), b2=(16,),
    )  # fmt: skip
    for name, axis, size in (("w1", 0, 80), ("b1", 0, 80), ("w2", 1, 1 / 80)):
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        array = np.moveaxis(tensor.numpy().copy(), axis, 0)
        array[3] *= size
        moved = np.ascontiguousarray(np.moveaxis(array, 0, axis))
        model.graph.initializers[name].const_value = ir.Tensor(moved, name=name)
    return model


def branches() -> ir.Model:
    """Both branches read what was made before."""
    return graph(
        """(float[1, 16, 8, 8] x, bool c) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
        t = If (c) <then_branch = one () => (float[1, 16, 8, 8] u) { u = Relu(a) },
                    else_branch = two () => (float[1, 16, 8, 8] v) { v = Tanh(a) }>
        y = Conv <pads = [1, 1, 1, 1]> (t, w2, b2) }""",
        w1=(16, 16, 3, 3), b1=(16,), w2=(16, 16, 3, 3), b2=(16,),
    )  # fmt: skip


def reshaped() -> ir.Model:
    """Of the signed Q and DQ in front of the second product ONNX Runtime fuses what it refuses."""
    model = graph(
        """(float[8, 128] x) => (float[1, 8, 128] y) {
        a = Gemm(x, w1, b1)  r = Reshape(a, shape)  p = MatMul(r, w2)  y = Add(b2, p) }""",
        w1=(128, 128), b1=(128,), shape=np.array([1, 8, 128]), w2=(128, 128), b2=(128,),
    )  # fmt: skip
    model.graph.opset_imports[""], model.ir_version = 21, 10
    return model


def samples(model: ir.Model, count: int = 12) -> list[Feed]:
    random = np.random.default_rng(3)
    shape = [int(d) for d in model.graph.inputs[0].shape or ()]
    mean = random.normal(size=shape)
    feeds: list[Feed] = [
        {"x": (mean + random.normal(size=shape)).astype(np.float32)} for _ in range(count)
    ]
    if len(model.graph.inputs) > 1:
        feeds = [feed | {"c": np.array(i % 2 == 0)} for i, feed in enumerate(feeds)]
    return feeds


def quantized(model: ir.Model, target: TargetSpec) -> tuple[ir.Model, empirical.Reference, Plan]:
    """A copy without corrections, and what was observed of the model."""
    plan = place(model, target, Wish(cpu=CPU))
    plan = replace(plan, weight=replace(plan.weight, bits=BITS))
    feeds = samples(model)
    found = observed(model, plan.values, feeds[0])
    smoothing = factors(model.graph, plan, found, MinMax())
    rescaled = tuple(v for v in plan.rescaled if v in smoothing)
    plan = replace(plan, smoothed=tuple(smoothing), rescaled=rescaled)
    reference = empirical.observe(model, plan, feeds, smoothing)
    numbers = parameters(plan, found, MinMax(), smoothing)
    copy = ir.from_proto(ir.to_proto(model))
    return qdq.write(copy, plan, numbers, smoothing), reference, plan


def means(
    model: ir.Model, reference: empirical.Reference, target: TargetSpec = ORT
) -> list[NDArray[np.float64]]:
    """Of each channel behind each bias, over all samples."""
    nodes = {n.name: n for n in model.graph}
    names = [nodes[site.node].outputs[0].name or "" for site in reference.sites]
    proto = ir.to_proto(model)
    known = {o.name for o in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    is_own = target is ORT
    runs = [run(proto, feed, optimize=is_own) for feed in reference.samples]
    found = []
    for name, site in zip(names, reference.sites, strict=True):
        values = [np.moveaxis(r[name], site.axis, 0).reshape(len(site.deviation), -1) for r in runs]
        found.append(np.concatenate(values, axis=1).mean(axis=1, dtype=np.float64))
    return found


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
@pytest.mark.parametrize("build", [residual, tokens, outlier, branches, reshaped])
def test_behind_every_bias_the_mean_is_that_of_the_float_model(
    build: Callable[[], ir.Model], target: TargetSpec
) -> None:
    model = build()
    written, reference, plan = quantized(model, target)
    wanted = [site.means.mean(axis=0) for site in reference.sites]
    before = means(written, reference, target)

    empirical.correct(written, reference, target.runtime)

    assert len(wanted) == sum(bias(n)[0] is not None for n in model.graph if n.name in
                              {d.site for d in plan.quantized if d.weight is not None})  # fmt: skip
    after = means(written, reference, target)
    for site, want, was, got in zip(reference.sites, wanted, before, after, strict=True):
        off = np.abs(want - got) / site.deviation
        assert off.max() < 0.05  # a step of the range behind a site is more than that
        assert off.max() < (np.abs(want - was) / site.deviation).max() / 2


def test_multiplied_channels_are_compared_with_multiplied_ones() -> None:
    written, reference, plan = quantized(outlier(), ORT)

    assert plan.rescaled == ("r",)
    assert reference.sites[0].deviation.max() < 20 * reference.sites[0].deviation.min()
    assert written.graph.name


def test_a_shift_is_at_most_a_half_of_what_the_channel_varies_by() -> None:
    written, reference, _ = quantized(residual(), ORT)
    before = means(written, reference)[0]
    first = reference.sites[0]
    wrong = replace(first, means=first.means + 1e6)

    empirical.correct(written, replace(reference, sites=(wrong, *reference.sites[1:])), ORT.runtime)

    moved = means(written, reference)[0] - before
    np.testing.assert_allclose(moved, empirical.LARGEST * first.deviation, rtol=0.02)


def test_where_there_is_no_room_a_single_sample_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(empirical, "LIMIT", 1)
    written, reference, _ = quantized(residual(), ORT)

    empirical.correct(written, reference, ORT.runtime)

    alone = replace(reference, samples=reference.samples[:1])
    for site, got in zip(reference.sites, means(written, alone), strict=True):
        assert (np.abs(site.means[0] - got) <= 0.1 * site.deviation).all()


def test_of_many_samples_some_are_taken_and_they_are_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(empirical, "SAMPLES", 4)
    model = residual()
    feeds = samples(model, 50)

    reference = empirical.observe(model, place(model, ORT, Wish()), feeds, {})

    taken = [next(i for i, f in enumerate(feeds) if f is s) for s in reference.samples]
    assert len(taken) in range(4, 8)
    assert len(set(np.diff(taken))) == 1
    assert taken[-1] >= 32


def test_no_samples_and_nan_are_refused() -> None:
    model = residual()
    plan = place(model, ORT, Wish())
    broken = {"x": np.full((1, 16, 8, 8), np.nan, np.float32)}

    with pytest.raises(CalibrationError, match="at least one"):
        empirical.observe(model, plan, [], {})
    with pytest.raises(CalibrationError, match="NaN or Inf"):
        empirical.observe(model, plan, [broken], {})
