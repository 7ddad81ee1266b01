"""What some nodes get that others do not: in the file, in the plan, and where it is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.errors import RecipeError, TargetError
from gossamer.graph.observers.percentile import Percentile
from gossamer.graph.roundings.adaround import Adaround
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.plan import Plan, Reason
from gossamer.statistics import Statistics
from gossamer.step import GraphContext, Override
from gossamer.target import TargetSpec
from zoo.explicit import faults
from zoo.placed import (
    CPU,
    OPENVINO,
    ORT,
    TENSORRT,
    agreement,
    block,
    conv_relu_conv,
    decision,
    feed,
    given,
    observed,
)
from zoo.placed import graph as parsed

CUT = Percentile(p=90.0)


def written(
    model: ir.Model, *overrides: Override, target: TargetSpec = ORT, cpu: str = CPU
) -> tuple[ir.Model, Plan]:
    plans: list[Plan] = []
    clean = ir.from_proto(ir.to_proto(model))

    def statistics(values: Sequence[str]) -> Statistics:
        return observed(clean, tuple(values), feed(clean))

    context = GraphContext(
        target=target, cpu=cpu, record=plans.append, calibration=given(statistics, feed(clean))
    )
    step = QuantizeStatic(overrides=overrides, smoothing="none", correction="none")
    return step.apply(ir.from_proto(ir.to_proto(model)), context), plans[-1]


def content(model: ir.Model, name: str) -> NDArray[np.generic]:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def test_each_wish_reaches_what_the_named_nodes_read_and_nothing_else() -> None:
    override = Override(
        nodes=("conv2",), ranges=CUT, symmetric=True, weight_bits=4, granularity="per-tensor"
    )

    plain, _ = written(conv_relu_conv())
    model, plan = written(conv_relu_conv(), override)

    assert content(model, "r_scale") != content(plain, "r_scale")
    assert content(model, "r_zero_point") == 128
    assert np.abs(content(model, "w2_quantized")).max() == 7
    assert content(model, "w2_scale").shape == ()
    for name in ("x_scale", "y_scale", "w1_0_quantized", "w1_0_scale"):
        np.testing.assert_array_equal(content(model, name), content(plain, name))
    assert decision(plan, "conv2").detail.endswith(
        "; override 1: ranges percentile with p 90.0, symmetric yes, granularity per-tensor, "
        "weight-bits 4"
    )


def test_without_overrides_nothing_is_told_and_nothing_changes() -> None:
    _, plan = written(conv_relu_conv())
    assert (plan.specs, plan.ranges) == ((), ())
    assert all("override" not in d.detail for d in plan.decisions)


def test_the_last_of_several_wishes_counts_and_the_other_node_says_so() -> None:
    overrides = (Override(nodes=("MatMul",), ranges=CUT), Override(nodes=("matmul4",), ranges=CUT))
    _, plan = written(block(), *overrides)
    assert "not ranges" not in decision(plan, "matmul1").detail  # both want the same

    overrides = (Override(nodes=("MatMul",), symmetric=False),) * 2
    overrides = (overrides[0], Override(nodes=("matmul4",), symmetric=True))
    _, plan = written(block(), *overrides)

    told = "override 1: not symmetric no (n has symmetric yes of override 2)"
    assert dict(plan.specs)["n"].symmetric
    assert told in decision(plan, "matmul1").detail  # it reads n too
    assert "override 2: symmetric yes" in decision(plan, "matmul4").detail
    assert "not" not in decision(plan, "matmul6").detail.split("; ", 1)[1]


def test_values_with_one_scale_get_one_wish() -> None:
    model = parsed(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 4, 4] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)
        m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
        y = Conv <pads = [1, 1, 1, 1]> (m, w2) }""",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3),
    )  # fmt: skip
    found, plan = written(model, Override(nodes=("conv2",), symmetric=True, ranges=CUT))
    assert content(found, "a_zero_point") == content(found, "m_zero_point") == 128
    assert content(found, "a_scale") == content(found, "m_scale")
    assert {name for name, _ in plan.ranges} == {"a", "m"}


def test_a_kernel_that_takes_zero_point_0_alone_keeps_it() -> None:
    model, plan = written(block(), Override(nodes=("MatMul",), symmetric=False), target=OPENVINO)
    assert "not symmetric no (the kernel takes zero point 0" in decision(plan, "matmul1").detail
    assert content(model, "n_zero_point") == 0
    assert content(model, "n_zero_point").dtype == np.int8


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (Override(nodes=("Conv",), symmetric=False), "not symmetric no (tensorrt takes zero"),
        (Override(nodes=("Conv",), activation_bits=8), "activation-bits 8"),
    ],
)
def test_a_target_of_zero_point_0_gets_no_other(override: Override, told: str) -> None:
    model, plan = written(conv_relu_conv(), override, target=TENSORRT)

    assert faults(model, plan) == []
    assert told in decision(plan, "conv0").detail


def test_16_bits_are_stored_where_the_runtime_runs_them_as_written() -> None:
    override = Override(nodes=("conv2",), activation_bits=16)

    model, plan = written(conv_relu_conv(), override)
    assert content(model, "r_zero_point").dtype == np.uint16
    assert content(model, "x_zero_point").dtype == np.uint8
    assert "override 1: activation-bits 16" in decision(plan, "conv2").detail
    assert agreement(conv_relu_conv(), model) > 30  # in ONNX Runtime, int8 beside 16 bits

    model, plan = written(conv_relu_conv(), override, target=OPENVINO)
    assert content(model, "r_zero_point").dtype == np.uint8
    assert "not activation-bits 16 (openvino-cpu does not" in decision(plan, "conv2").detail
    with pytest.raises(TargetError, match=r"activations of 16 bits; received openvino-cpu"):
        QuantizeStatic(activation_bits=16).placed(conv_relu_conv(), OPENVINO, CPU)


def test_a_target_of_symmetric_activations_keeps_them_so() -> None:
    tensorrt: TargetSpec = plugins.load("targets", "tensorrt")
    override = Override(nodes=("conv2",), ranges=CUT, symmetric=False, activation_bits=16)
    model, plan = written(conv_relu_conv(), override, target=tensorrt)
    assert content(model, "r_zero_point") == np.int8(0)
    assert decision(plan, "conv2").detail.endswith(
        "override 1: ranges percentile with p 90.0, "
        "not symmetric no (tensorrt takes zero point 0 alone), "
        "not activation-bits 16 (tensorrt does not run such Q/DQ as they are written)"
    )
    model, plan = written(
        conv_relu_conv(), Override(nodes=("conv2",), activation_bits=8), target=tensorrt
    )
    assert content(model, "r_zero_point") == np.int8(0)


def test_nodes_that_store_nothing_say_so() -> None:
    _, plan = written(conv_relu_conv(), Override(nodes=("Relu", "conv0"), weight_bits=7))
    assert decision(plan, "relu1").reason is Reason.NO_RULE
    assert decision(plan, "relu1").detail == "override 1 does nothing here: it is a part of conv0"

    _, plan = written(block(), Override(nodes=("Tanh",), ranges=CUT))
    assert decision(plan, "tanh3").detail == "override 1 does nothing here: nothing is stored"

    _, plan = written(conv_relu_conv(), Override(nodes=("conv0",), granularity="per-channel"))
    assert "override 1: granularity per-channel" in decision(plan, "conv0").detail


def test_a_selector_that_matches_nothing_is_an_error_with_what_is_near() -> None:
    with pytest.raises(RecipeError, match=r"'conv3', which matches no node.*Did you mean conv"):
        written(conv_relu_conv(), Override(nodes=("conv3",), weight_bits=7))


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel"])
def test_weights_of_any_granularity_fit_16_bit_sums(target: TargetSpec, granularity: str) -> None:
    override = plugins.parse(
        "steps",
        {"quantize-static": {"overrides": [{"nodes": ["Conv"], "granularity": granularity}]}},
    ).overrides
    model, _ = written(conv_relu_conv(), *override, target=target, cpu="portable")
    name = "w2_quantized" if granularity == "per-tensor" else "w2_0_quantized"
    rows = np.moveaxis(content(model, name).astype(int), 1, -1).reshape(16, -1)
    assert 64 < np.abs(rows).max() <= 127
    assert np.abs(rows[:, 1:] + rows[:, :-1]).max() <= 128
    assert agreement(conv_relu_conv(), model) > 30


def test_a_rounding_reaches_weights_with_one_scale() -> None:
    plans: list[Plan] = []
    clean = conv_relu_conv()
    context = GraphContext(
        target=ORT, cpu="portable", record=plans.append,
        calibration=given(lambda v: observed(clean, tuple(v), feed(clean)), feed(clean)),
    )  # fmt: skip
    override = Override(nodes=("Conv",), granularity="per-tensor")
    found = [
        QuantizeStatic(overrides=(override,), rounding=rounding).apply(conv_relu_conv(), context)
        for rounding in (QuantizeStatic().rounding, Adaround())
    ]
    assert (content(found[0], "w2_quantized") != content(found[1], "w2_quantized")).any()


def test_recipes_carry_overrides_both_ways() -> None:
    plain = {
        "quantize-static": {
            "overrides": [
                {"nodes": ["Conv", "re:^a"], "ranges": {"percentile": {"p": 99.5}}},
                {"nodes": ["conv2"], "weight_bits": 7, "activation-bits": 16, "symmetric": True},
            ]
        }
    }
    step = plugins.parse("steps", plain)
    first, second = step.overrides
    assert first == Override(nodes=("Conv", "re:^a"), ranges=Percentile(p=99.5))
    assert second.wishes == {"symmetric": True, "activation_bits": 16, "weight_bits": 7}
    assert plugins.parse("steps", plugins.dump(step)) == step


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"nodes": ["Conv"]}, r"an override that names nodes and something for them"),
        ({"nodes": [], "weight-bits": 7}, r"an override that names nodes"),
        ({"weight-bits": 7}, r"all fields of quantize-static.overrides\[0\].*nodes"),
        ({"nodes": ["Conv"], "weight-bits": 9}, r"received s8 with 9 bits"),
        ({"nodes": ["Conv"], "activation-bits": 12}, r"activation.bits.*There are: 8, 16"),
        ({"nodes": "Conv", "weight-bits": 7}, r"a list for .*nodes; received 'Conv'"),
        ({"nodes": [3], "weight-bits": 7}, r"text for .*nodes\[0\]; received 3"),
        ({"nodes": ["Conv"], "weight-bit": 7}, r"Did you mean weight-bits"),
        ({"nodes": ["Conv"], "ranges": "mes"}, r"Did you mean mse"),
        ("Conv", r"a mapping for quantize-static.overrides\[0\]; .*nodes, ranges"),
    ],
)
def test_a_wrong_override_is_an_error_that_says_what_fits(override: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plugins.parse("steps", {"quantize-static": {"overrides": [override]}})
