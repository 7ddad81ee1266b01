"""Roundings in the step: every layout, weights that sites share, sums of 16 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from gossamer.errors import RecipeError
from gossamer.graph.rounder import Rounder
from gossamer.graph.roundings.adaround import Adaround
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.weights import weight_numbers
from gossamer.plan import Plan
from gossamer.quant import Grid, QuantSpec
from gossamer.statistics import Statistics
from gossamer.step import GraphContext, Rounding
from gossamer.target import TargetSpec
from zoo.placed import (
    CPU,
    OPENVINO,
    ORT,
    Feed,
    block,
    conv_relu_conv,
    given,
    graph,
    observed,
    run,
    sqnr,
)  # fmt: skip


def grouped() -> ir.Model:
    return graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 4, 4] y) {
        a = Conv <group = 4> (x, w1, b1)  r = Relu(a)
        y = Conv <group = 16> (r, w2, b2) }""",
        w1=(16, 4, 3, 3), b1=(16,), w2=(16, 1, 3, 3), b2=(16,),
    )  # fmt: skip


def gemms() -> ir.Model:
    """One weight that is read both ways, and one of which each row is an output."""
    return graph(
        """(float[4, 128] x) => (float[4, 96] y) {
        a = Gemm (x, w, b)  r = Relu(a)
        c = Gemm <transB = 1> (r, w, b)  y = Gemm <transB = 1> (c, v) }""",
        w=(128, 128), b=(128,), v=(96, 128),
    )  # fmt: skip


def correlated(model: ir.Model, count: int) -> list[Feed]:
    """Channels that depend on each other, as those of real activations do."""
    random = np.random.default_rng(2)
    shape = [int(d) for d in model.graph.inputs[0].shape or ()]
    axis = 1 if len(shape) == 4 else -1
    size = shape[axis]
    mixed = random.normal(size=(size // 4, size)) / 2

    def sample() -> NDArray[np.float32]:
        inner = [*np.moveaxis(np.empty(shape), axis, -1).shape[:-1], size // 4]
        return np.moveaxis(random.normal(1, 1, inner) @ mixed, -1, axis).astype(np.float32)

    return [{"x": sample()} for _ in range(count)]


def written(
    model: ir.Model, step: QuantizeStatic, target: TargetSpec, cpu: str = CPU
) -> tuple[ir.Model, Plan]:
    feeds = correlated(model, 16)
    together = {"x": np.concatenate([f["x"] for f in feeds])}
    wide = ir.from_proto(ir.to_proto(model))
    wide.graph.inputs[0].shape = ir.Shape(together["x"].shape)
    for value in (*wide.graph.outputs, *(v for n in wide.graph for v in n.outputs)):
        value.shape = None

    def statistics(values: Sequence[str]) -> Statistics:
        return observed(wide, tuple(values), together)

    plans: list[Plan] = []
    context = GraphContext(
        target=target, cpu=cpu, calibration=given(statistics, *feeds), record=plans.append
    )
    copy = ir.from_proto(ir.to_proto(model))
    return step.apply(copy, context), plans[0]


def quality(model: ir.Model, step: QuantizeStatic, target: TargetSpec) -> float:
    """SQNR in dB on other samples."""
    other, _ = written(model, step, target)
    feeds = correlated(model, 40)[16:]
    name = model.graph.outputs[0].name or ""
    a, b = (
        np.stack([run(ir.to_proto(m), feed)[name] for feed in feeds]) for m in (model, other)
    )  # fmt: skip
    return sqnr(a, b)


@pytest.mark.parametrize("build", [conv_relu_conv, grouped, gemms, block])
@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_adaround_gains_where_weights_have_few_bits(build: object, target: TargetSpec) -> None:
    model: ir.Model = build()  # type: ignore[operator]

    nearest = quality(model, QuantizeStatic(weight_bits=4), target)
    chosen = quality(model, QuantizeStatic(weight_bits=4, rounding=Adaround()), target)

    assert chosen > nearest + (0.3 if build is grouped else 1)  # few weights, few choices


def test_smoothed_values_are_rounded_for_as_they_come() -> None:
    """Of multiplied values, or the product would be rounded for another one."""
    model = block()
    sizes = np.ones(128, np.float32)
    sizes[::16] = 50
    model.graph.initializers["g"].const_value = ir.Tensor(sizes)

    nearest = quality(model, QuantizeStatic(weight_bits=4), OPENVINO)
    chosen = quality(model, QuantizeStatic(weight_bits=4, rounding=Adaround()), OPENVINO)

    assert chosen > nearest + 1


def test_weights_that_are_not_laid_out_go_to_the_nearest_and_the_plan_says_so() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 9, 9] y) {
        r = Relu(x)  y = ConvTranspose (r, w) }""",
        w=(16, 16, 2, 2),
    )
    plain, _ = written(model, QuantizeStatic(), OPENVINO)
    other, plan = written(model, QuantizeStatic(rounding=Adaround()), OPENVINO)

    assert ir.to_proto(plain) == ir.to_proto(other)
    assert "rounded to nearest" in plan.quantized[0].detail


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_have_no_more_bits_than_wanted(bits: int) -> None:
    other, _ = written(conv_relu_conv(), QuantizeStatic(weight_bits=bits), ORT)
    weights = [
        v.const_value.numpy()
        for v in other.graph.initializers.values()
        if v.const_value is not None and v.const_value.dtype == ir.DataType.INT8
    ]
    largest = 2 ** (bits - 1) - 1

    assert len(weights) >= 2
    assert largest / 2 < max(np.abs(w.astype(int)).max() for w in weights) <= largest


@pytest.mark.parametrize("bits", [1, 9])
def test_other_numbers_of_bits_are_refused(bits: int) -> None:
    with pytest.raises(RecipeError, match="2 to 8 bits"):
        QuantizeStatic(weight_bits=bits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Largest(Rounding):
    """Whatever comes: the largest number there is, of half the scale if that is wanted."""

    moves: bool = False

    def round(
        self, weight: NDArray[np.float32], grid: Grid, hessian: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int16], Grid]:
        halved = Grid(
            scale=grid.scale / 2, zero_point=grid.zero_point, size=grid.size,
            qmin=grid.qmin, qmax=grid.qmax,
        )  # fmt: skip
        return np.full(weight.shape, grid.qmax, np.int16), halved if self.moves else grid


@pytest.mark.parametrize("accumulator", ["s16", "s32"])
def test_outputs_whose_neighbours_would_overflow_go_to_the_nearest(accumulator: str) -> None:
    spec = QuantSpec(
        dtype="s8", symmetric=True, granularity="per-channel",
        accumulator="s16" if accumulator == "s16" else "s32",
    )  # fmt: skip
    model = gemms()
    array = np.random.default_rng(0).normal(size=(96, 128)).astype(np.float32)
    node = next(n for n in model.graph if n.name == "gemm3")
    numbers = weight_numbers(array, spec, 0)

    stored = Rounder(rounding=Largest()).stored(node, array, numbers, spec, None)

    wanted = numbers.quantize(array, spec) if accumulator == "s16" else 127
    assert (stored == wanted).all()


def test_a_rounding_that_wants_another_grid_is_refused() -> None:
    with pytest.raises(RecipeError, match="keeps scales"):
        written(block(), QuantizeStatic(rounding=Largest(moves=True)), ORT)
