"""Stored numbers in training are those of ONNX Runtime, and gradients those of the paper."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from gossamer.quant import QParams, QuantSpec
from gossamer.train.fake_quantize import FakeActivation, FakeWeight, fake_quantize

pytestmark = pytest.mark.torch

Array = NDArray[np.float32]
VALUES = hnp.arrays(np.float32, 64, elements=st.floats(-300, 300, width=32))


def session(dtype: ir.DataType) -> ort.InferenceSession:
    """Q and DQ of `x` with `scale` and `zero`, all fed."""
    given = [
        ir.Value(name=n, type=ir.TensorType(t), shape=ir.Shape(s))
        for n, t, s in (
            ("x", ir.DataType.FLOAT, [64]),
            ("scale", ir.DataType.FLOAT, []),
            ("zero", dtype, []),
        )
    ]
    q = ir.node("QuantizeLinear", given, name="q")
    dq = ir.node("DequantizeLinear", [q.outputs[0], *given[1:]], name="dq")
    out = dq.outputs[0]
    out.name, out.type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(given, [out], nodes=[q, dq], opset_imports={"": 18}, name="pair")
    model = ir.to_proto(ir.Model(graph, ir_version=10))
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


SESSIONS = {"u8": session(ir.DataType.UINT8), "s8": session(ir.DataType.INT8)}


@given(
    values=VALUES,
    step=st.floats(2**-10, 4, width=32),
    zero=st.integers(0, 255),
    dtype=st.sampled_from(["u8", "s8"]),
    whole=st.booleans(),
)
@settings(max_examples=200)
def test_activations_are_to_the_bit_what_onnx_runtime_stores(
    values: Array, step: float, zero: int, dtype: str, whole: bool
) -> None:
    if whole:  # halves of steps: rounded to even
        values = (np.rint(values) * np.float32(step) / 2).astype(np.float32)
    point = np.uint8(zero) if dtype == "u8" else np.int8(0)
    start = QParams(scale=np.array(step, np.float32), zero_point=np.array(point))
    spec = QuantSpec() if dtype == "u8" else QuantSpec(dtype="s8", symmetric=True)
    fake = FakeActivation(nn.Identity(), "output_", spec, None)
    fake.begin(start, torch.device("cpu"))
    numbers = fake.numbers()

    with torch.no_grad():
        received = fake(torch.from_numpy(values)).numpy()

    feed = {"x": values, "scale": numbers.scale, "zero": numbers.zero_point}
    assert abs(float(numbers.scale) / step - 1) < 1e-5
    assert np.array_equal(received, SESSIONS[dtype].run(None, feed)[0])


def reference(
    x: NDArray[np.float64], step: NDArray[np.float64], ends: tuple[int, int], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """D out / d x, and for each element d out / d log(step) as it is documented."""
    low, high = ends
    v = x / step
    inside = (v > low) & (v < high)
    by_step = np.where(inside, np.rint(v) - v, np.clip(v, low, high))
    return inside.astype(float), by_step / math.sqrt(n * max(-low, high)) / step


@given(seed=st.integers(0, 1000), low=st.integers(-128, 0), size=st.sampled_from([2, 8, 128]))
@settings(max_examples=50)
def test_gradients_of_activations_are_those_of_the_paper(seed: int, low: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    x = (generator.standard_normal((4, 10)) * size).astype(np.float32)
    weights = generator.standard_normal((4, 10)).astype(np.float32)
    log_step = torch.tensor(math.log(1.5), requires_grad=True)
    given_x = torch.from_numpy(x).requires_grad_()
    ends = low, low + 255

    (fake_quantize(given_x, log_step, *ends) * torch.from_numpy(weights)).sum().backward()

    step = np.array(math.exp(log_step.item()), np.float64)
    of_x, of_step = reference(x.astype(np.float64), step, ends, n=10)
    np.testing.assert_allclose(given_x.grad, of_x * weights, atol=1e-6)
    # in float32, sums of numbers up to 255
    np.testing.assert_allclose(log_step.grad, (of_step * weights).sum(), rtol=2e-3, atol=2e-4)


def test_gradients_of_weights_are_those_of_each_channel() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((5, 3, 2)).astype(np.float32)
    weights = generator.standard_normal((5, 3, 2)).astype(np.float32)
    start = np.linspace(0.05, 0.5, 5)[:, None, None]
    log_step = torch.tensor(np.log(start), dtype=torch.float32, requires_grad=True)

    out = fake_quantize(torch.from_numpy(x), log_step, -7, 7)
    (out * torch.from_numpy(weights)).sum().backward()

    _, of_step = reference(x.astype(np.float64), start, (-7, 7), n=6)
    wanted = (of_step * weights).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(log_step.grad, wanted, rtol=1e-3, atol=1e-4)


def test_a_step_of_sgd_moves_the_step_as_in_the_paper() -> None:
    """To first order: d step = -rate * d loss / d step / sqrt(n * high)."""
    x, rate = torch.tensor([[0.3, 0.9, 5.0]]), 1e-4
    log_step = torch.tensor(math.log(0.25), requires_grad=True)

    fake_quantize(x, log_step, 0, 15).sum().backward()
    after = math.exp(log_step.item() - rate * log_step.grad.item())  # type: ignore[union-attr]

    of_step = (1 - 1.2) + (4 - 3.6) + 15
    assert after - 0.25 == pytest.approx(-rate * of_step / math.sqrt(3 * 15), rel=1e-3)


@given(
    weight=hnp.arrays(np.float32, (4, 6), elements=st.floats(-2, 2, width=32)),
    bits=st.integers(2, 8),
)
def test_weights_start_no_worse_than_with_their_largest_and_fit_their_bits(
    weight: Array, bits: int
) -> None:
    spec = QuantSpec(dtype="s8", granularity="per-channel", symmetric=True, bits=bits)
    given_weight = torch.from_numpy(weight)
    fake = FakeWeight(given_weight, spec, 0, learns=True)

    found = fake(given_weight).detach().numpy()

    numbers = fake.numbers(given_weight)
    largest = np.abs(weight).max(axis=1, keepdims=True)
    step = np.where(largest / spec.qmax > 1e-12, largest / spec.qmax, 1).astype(np.float32)
    plain = np.rint(weight / step) * step
    stored = numbers.quantize(weight, spec)
    assert np.array_equal(numbers.dequantize(stored), found)
    assert np.abs(stored.astype(int)).max() <= spec.qmax
    assert ((found - weight) ** 2).sum() <= ((plain - weight) ** 2).sum() * 1.001 + 1e-9


def test_half_precision_stays_half_precision() -> None:
    x = torch.randn(4, 4, dtype=torch.bfloat16)

    assert fake_quantize(x, torch.tensor(-3.0), -128, 127).dtype == torch.bfloat16
