"""Pieces of a model, run one after another, against the whole model."""

from __future__ import annotations

import os
import signal

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from gossamer.errors import CalibrationError
from gossamer.graph.segments import Segments
from gossamer.runtime import Feed
from zoo.placed import graph, run


def residual() -> ir.Model:
    """`x` is read at the end again; `r` feeds a branch that is never asked for."""
    return graph(
        """(float[1, n, 8] x) => (float[1, n, 8] y, float[1, n, 8] z) {
        a = MatMul(x, w1)  r = Relu(a)  b = MatMul(r, w2)  s = Add(b, x)
        y = MatMul(s, w3)  z = Tanh(r) }""",
        w1=(8, 8), w2=(8, 8), w3=(8, 8),
    )  # fmt: skip


def branching() -> ir.Model:
    """The branches of an If read values from outside."""
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["": 18]>
        g (float[1, n, 8] x, bool c) => (float[1, n, 8] y) {
          r = Relu(x)
          s = If (c) <then_branch = t () => (float[1, n, 8] u) { u = Neg(r) },
                      else_branch = e () => (float[1, n, 8] v) { v = Add(r, x) }>
          y = Sin(s) }"""
    )
    return ir.from_proto(model)


def sentences(count: int = 5) -> list[Feed]:
    generator = np.random.default_rng(0)
    return [
        {"x": generator.standard_normal((1, 2 + i, 8)).astype(np.float32)} for i in range(count)
    ]


def value(model: ir.Model, name: str) -> ir.Value:
    return ir.convenience.create_value_mapping(model.graph)[name]


def wanted(model: ir.Model, name: str, feeds: list[Feed]) -> np.ndarray:
    """Mean of x xᵀ from runs of the whole model."""
    proto = ir.to_proto(model)
    if name not in feeds[0]:
        proto.graph.output.append(onnx.ValueInfoProto(name=name))
    rows = [(run(proto, feed) | feed)[name].reshape(-1, 8) for feed in feeds]
    stacked = np.concatenate(rows).astype(np.float64)
    return stacked.T @ stacked / len(stacked)


def test_every_value_is_seen_as_the_whole_model_makes_it() -> None:
    model, feeds = residual(), sentences()
    with Segments(model, iter(feeds)) as segments:
        for name in ("x", "r", "s"):
            found = segments.hessian(value(model, name))
            np.testing.assert_allclose(found, wanted(model, name, feeds), rtol=1e-4, atol=1e-5)


def test_weights_changed_before_they_run_are_the_ones_that_run() -> None:
    model, changed, feeds = residual(), residual(), sentences()
    array = changed.graph.initializers["w2"].const_value.numpy() * 3  # type: ignore[union-attr]
    changed.graph.initializers["w2"].const_value = ir.Tensor(array, name="w2")
    with Segments(model, iter(feeds)) as segments:
        segments.hessian(value(model, "r"))
        model.graph.initializers["w2"].const_value = changed.graph.initializers["w2"].const_value
        found = segments.hessian(value(model, "s"))
    np.testing.assert_allclose(found, wanted(changed, "s", feeds), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_so", [True, False])
def test_branches_get_the_values_that_they_read(is_so: bool) -> None:
    model = branching()
    feeds = [feed | {"c": np.array(is_so)} for feed in sentences()]
    with Segments(model, iter(feeds)) as segments:
        segments.hessian(value(model, "r"))
        found = segments.hessian(value(model, "s"))
    np.testing.assert_allclose(found, wanted(model, "s", feeds), rtol=1e-4, atol=1e-5)


def test_no_samples_and_nan_are_refused() -> None:
    model = residual()
    with (
        Segments(model, iter([])) as segments,
        pytest.raises(CalibrationError, match="at least one calibration sample"),
    ):
        segments.hessian(value(model, "x"))
    feeds = sentences()
    feeds[3]["x"][0, 0, 0] = np.nan
    with (
        Segments(model, iter(feeds)) as segments,
        pytest.raises(CalibrationError, match=r"'x'.*NaN or Inf in calibration sample 3"),
    ):
        segments.hessian(value(model, "x"))


def test_inputs_that_do_not_fit_are_told() -> None:
    model = residual()
    feeds = [{"x": np.zeros((1, 2, 7), np.float32)}]
    with (
        Segments(model, iter(feeds)) as segments,
        pytest.raises(CalibrationError, match="inputs that the model runs on"),
    ):
        segments.hessian(value(model, "r"))


def test_a_process_that_dies_is_told() -> None:
    model = residual()
    with Segments(model, iter(sentences())) as segments:
        os.kill(segments.pid, signal.SIGKILL)
        with pytest.raises(CalibrationError, match=r"ended with code -9.*Out of memory\?"):
            segments.hessian(value(model, "r"))
