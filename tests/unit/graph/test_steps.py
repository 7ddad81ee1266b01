from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gossamer.errors import RecipeError, TargetError
from gossamer.graph.steps.quantize_dynamic import QuantizeDynamic
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.to_half import ToHalf
from gossamer.plan import Plan, Reason
from gossamer.statistics import Statistics
from gossamer.step import GraphContext
from gossamer.target import TargetSpec
from zoo.placed import (
    CPU,
    OPENVINO,
    ORT,
    agreement,
    block,
    conv_relu_conv,
    feed,
    given,
    graph,
    observed,
)


def context(
    model: object, plans: list[Plan], target: TargetSpec = ORT, unseen: frozenset[str] = frozenset()
) -> GraphContext:
    def statistics(values: Sequence[str]) -> Statistics:
        found = observed(model, tuple(values), feed(model))  # type: ignore[arg-type]
        kept = {k: v for k, v in found.tensors.items() if k not in unseen}
        return replace(found, tensors=kept)

    return GraphContext(target=target, cpu=CPU, calibration=given(statistics), record=plans.append)


def test_static_quantization_records_its_plan() -> None:
    plans: list[Plan] = []
    written = QuantizeStatic().apply(block(), context(block(), plans))
    assert agreement(block(), written) > 30
    assert len(plans[0].quantized) == 3


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_sites_whose_values_were_not_observed_stay_in_float(target: TargetSpec) -> None:
    plans: list[Plan] = []
    model = conv_relu_conv()
    QuantizeStatic().apply(model, context(conv_relu_conv(), plans, target, frozenset({"x"})))
    first = plans[0].decisions[0]
    assert (first.site, first.reason) == ("conv0", Reason.UNCALIBRATED)
    assert [d.site for d in plans[0].quantized] == ["conv2"]


def test_values_that_share_a_scale_get_one() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 4, 4] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)
        m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
        y = Conv <pads = [1, 1, 1, 1]> (m, w2) }""",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3),
    )  # fmt: skip
    written = QuantizeStatic().apply(model, context(model, []))
    scales = {n: v.const_value for n, v in written.graph.initializers.items()}
    assert scales["a_scale"].numpy() == scales["m_scale"].numpy()  # type: ignore[union-attr]


def test_dynamic_quantization_needs_no_data() -> None:
    plans: list[Plan] = []
    written = QuantizeDynamic(exclude=("matmul6",)).apply(block(), context(block(), plans))
    assert agreement(block(), written) > 30
    types = [n.op_type for n in written.graph]
    assert types.count("MatMulIntegerToFloat") == 2
    assert types.count("DynamicQuantizeLinear") == 1  # both read one value
    assert [d.site for d in plans[0].quantized] == ["matmul1", "matmul4"]


@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel"])
@pytest.mark.parametrize("bits", [7, 8])
def test_dynamic_quantization_stores_weights_as_asked(granularity: Any, bits: int) -> None:
    plans: list[Plan] = []
    step = QuantizeDynamic(weight_bits=bits, granularity=granularity)
    written = step.apply(block(), context(block(), plans))
    assert agreement(block(), written) > 25
    (name,) = {d.weight for d in plans[0].quantized if d.site == "matmul1"}
    held = {n: v.const_value for n, v in written.graph.initializers.items()}
    stored = held[f"{name}_quantized"].numpy()  # type: ignore[union-attr]
    scale = held[f"{name}_scale"].numpy()  # type: ignore[union-attr]
    assert scale.ndim == (granularity == "per-channel")
    assert abs(stored).max() < 2 ** (bits - 1)


def test_a_uniform_dynamic_step_asks_for_no_size() -> None:
    model = graph("(float[2, 8] x) => (float[2, 8] y) { y = MatMul(x, w) }", w=(8, 8))
    plans: list[Plan] = []
    for placement in ("profitable", "uniform"):
        QuantizeDynamic(placement=placement).apply(model.clone(), context(model, plans))
    assert [len(plan.quantized) for plan in plans] == [0, 1]


def test_weights_of_a_dynamic_step_have_two_to_eight_bits() -> None:
    with pytest.raises(RecipeError, match="9"):
        QuantizeDynamic(weight_bits=9)


def test_dynamic_quantization_is_refused_where_no_kernel_is() -> None:
    with pytest.raises(TargetError, match=r"openvino-cpu.*quantize-static"):
        QuantizeDynamic().apply(block(), context(block(), [], OPENVINO))


def test_half_is_refused_where_the_target_does_not_run_it() -> None:
    model = block()
    assert ToHalf().apply(model, context(model, [], OPENVINO)) is model
    with pytest.raises(TargetError, match=r"bf16.*It runs: f32"):
        ToHalf().apply(model, context(model, [], ORT))
