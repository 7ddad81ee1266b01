"""Q/DQ that a model comes with: taken out, its numbers kept, whoever wrote it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.graph import adopted
from gossamer.graph.passes.simplify import simplify
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.plan import Plan
from gossamer.quant import QParams
from gossamer.statistics import Statistics
from gossamer.step import GraphContext, Override
from gossamer.target import TargetSpec
from zoo import quantized
from zoo.placed import (
    OPENVINO,
    ORT,
    conv_relu_conv,
    decision,
    feed,
    given,
    graph,
    observed,
    residual,
    run,
    sqnr,
)

WIDE = "vnni"  # sums in 32 bits: weights keep their numbers


def written(
    model: ir.Model, target: TargetSpec = ORT, cpu: str = WIDE, **options: object
) -> tuple[ir.Model, Plan]:
    """What quantize-static makes of a copy, simplified, and its plan."""
    copy, plans = simplify(ir.from_proto(ir.to_proto(model))), list[Plan]()
    clean = ir.from_proto(ir.to_proto(copy))

    def statistics(values: Sequence[str]) -> Statistics:
        return observed(clean, tuple(values), feed(clean))

    context = GraphContext(
        target=target, cpu=cpu, record=plans.append, calibration=given(statistics, feed(clean))
    )
    return QuantizeStatic(**options).apply(copy, context), plans[-1]  # type: ignore[arg-type]


def initial(model: ir.Model) -> dict[str, NDArray[np.generic]]:
    tensors = {n: v.const_value for n, v in model.graph.initializers.items()}
    return {name: tensor.numpy() for name, tensor in tensors.items() if tensor is not None}


def as_written(model: ir.Model) -> NDArray[np.generic]:
    """The first output as Q/DQ say, without the kernels of this CPU."""
    name = model.graph.outputs[0].name or ""
    return run(ir.to_proto(model), feed(model), optimize=False)[name]


def test_a_file_of_onnx_runtime_keeps_every_number(tmp_path: Path) -> None:
    float_model = residual()
    path = tmp_path / "float.onnx"
    ir.save(float_model, path)
    rows = [feed(float_model, seed)["x"] for seed in range(4)]
    source = ir.load(quantized.by_ort(path, tmp_path / "int8.onnx", rows))
    ours, plan = written(source)

    before, after = initial(source), initial(ours)
    for name in ("w1", "w2", "w3"):
        np.testing.assert_array_equal(after[f"{name}_0_quantized"], before[f"{name}_quantized"])
        np.testing.assert_array_equal(after[f"{name}_0_scale"], before[f"{name}_scale"])
    for name in ("x", "r", "b", "t"):
        np.testing.assert_array_equal(after[f"{name}_scale"], before[f"{name}_scale"])
        np.testing.assert_array_equal(after[f"{name}_zero_point"], before[f"{name}_zero_point"])
    assert all("adopted: " in d.detail for d in plan.quantized)
    assert all("not adopted" not in d.detail for d in plan.decisions)
    assert sqnr(as_written(source), as_written(ours)) > 60  # float32 alone differs
    assert not ours.metadata_props.keys() & {adopted.KEY}


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_a_file_of_nncf_keeps_its_numbers(target: TargetSpec) -> None:
    nncf = pytest.importorskip("nncf")
    float_model = conv_relu_conv()
    rows = [feed(float_model, seed) for seed in range(4)]
    logging.disable(logging.WARNING)
    try:
        theirs = nncf.quantize(ir.to_proto(float_model), nncf.Dataset(rows))
    finally:
        logging.disable(logging.NOTSET)
    source = ir.from_proto(theirs)
    quantizers = [n for n in source.graph if n.op_type == "DequantizeLinear"]
    assert len(quantizers) >= 4
    ours, plan = written(source, target)

    scales = {float(a) for n, a in initial(ours).items() if n.endswith("_scale") and a.ndim == 0}
    inputs = [n for n in source.graph if n.op_type == "QuantizeLinear"]
    for node in inputs:
        scale = node.inputs[1].const_value  # type: ignore[union-attr]
        assert scale is not None
        assert float(scale.numpy()) in scales
    assert all("adopted: " in d.detail for d in plan.quantized)
    # ours stores the output of the last Conv, too, on ONNX Runtime
    assert sqnr(as_written(source), as_written(ours)) > (35 if target is ORT else 60)


@pytest.mark.torch
@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_fake_quantization_of_torch_comes_through_with_its_numbers(target: TargetSpec) -> None:
    torch = pytest.importorskip("torch")
    from gossamer.export.to_graph import quiet_exporter

    per_tensor = torch.fake_quantize_per_tensor_affine
    per_channel = torch.fake_quantize_per_channel_affine

    class Trained(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 16, 3, padding=1)
            self.linear = torch.nn.Linear(16 * 64, 128)
            self.steps = {"conv": torch.linspace(0.001, 0.004, 16)}
            self.steps["linear"] = torch.linspace(0.0002, 0.0004, 128)

        def weight(self, name: str) -> object:
            steps = self.steps[name]
            zeros = torch.zeros(len(steps), dtype=torch.int32)
            return per_channel(getattr(self, name).weight, steps, zeros, 0, -128, 127)

        def forward(self, x: object) -> object:
            x = per_tensor(x, 0.03, 117, 0, 255)
            x = torch.nn.functional.conv2d(x, self.weight("conv"), self.conv.bias, padding=1)
            x = per_tensor(torch.relu(x), 0.02, 0, 0, 255).flatten(1)
            return torch.nn.functional.linear(x, self.weight("linear"), self.linear.bias)

    torch.manual_seed(0)
    module = Trained().eval()
    x = (torch.zeros(1, 3, 8, 8),)  # torch cannot fake-quantize by numbers with open axes
    with quiet_exporter():
        program = torch.onnx.export(module, x, dynamo=True, opset_version=18, verbose=False)
    source = ir.from_proto(program.model_proto)
    ours, plan = written(source, target)

    after = initial(ours)
    for name, steps in module.steps.items():
        each = steps.reshape(-1, *[1] * (getattr(module, name).weight.ndim - 1))
        whole = np.rint((module.weight(name) / each).detach().numpy())  # type: ignore[operator]
        stored, scale = (after[f"{name}.weight_0_{part}"] for part in ("quantized", "scale"))
        np.testing.assert_array_equal(stored, whole)
        np.testing.assert_array_equal(scale, steps.numpy())
    assert (after["x_scale"], after["x_zero_point"]) == (np.float32(0.03), 117)
    assert all("adopted: " in d.detail for d in plan.quantized)
    # ours stores the logits, too, on ONNX Runtime
    assert sqnr(as_written(source), as_written(ours)) > (35 if target is ORT else 60)


def pairs(*, kind: str = "uint8", zero: int = 0, weight: str = "int8", shift: int = 0) -> ir.Model:
    """Conv, a pair, Conv; weights in one scale for all."""
    generator = np.random.default_rng(3)
    whole = generator.integers(-127, 128, (16, 16, 3, 3)) + shift
    return graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        v = DequantizeLinear(w, ws, wz)
        a = Conv <pads = [1, 1, 1, 1]> (x, v)  q = QuantizeLinear(a, s, z)
        d = DequantizeLinear(q, s, z)  y = Conv <pads = [1, 1, 1, 1]> (d, v) }""",
        w=whole.astype(weight), ws=np.float32(0.002), wz=np.array(shift, weight),
        s=np.float32(0.05), z=np.array(zero, kind),
    )  # fmt: skip


def test_what_a_pair_cuts_off_stays_cut_off_in_float() -> None:
    model = simplify(pairs())
    kinds = [node.op_type for node in model.graph]
    assert kinds == ["Conv", "Relu", "Conv"]
    assert sqnr(as_written(pairs()), as_written(model)) > 25  # but for the rounding

    assert [n.op_type for n in simplify(pairs(zero=120)).graph] == ["Conv", "Conv"]


def test_signed_activations_become_unsigned_without_loss() -> None:
    source = pairs(kind="int8", zero=-8)
    ours, plan = written(source)
    assert initial(ours)["a_zero_point"] == np.uint8(120)
    assert initial(ours)["a_scale"] == np.float32(0.05)
    assert (
        "adopted: a, " in decision(plan, "conv4").detail or "a, " in decision(plan, "conv1").detail
    )


def test_a_target_of_symmetric_activations_keeps_what_is_symmetric() -> None:
    tensorrt: TargetSpec = plugins.load("targets", "tensorrt")
    ours, _ = written(pairs(zero=128), tensorrt)
    assert initial(ours)["a_zero_point"] == np.int8(0)
    assert initial(ours)["a_scale"] == np.float32(0.05)
    _, plan = written(pairs(), tensorrt)
    assert plan.decisions[-1].detail.endswith("adopted: w; not adopted: a")


def test_unsigned_weights_become_signed_where_their_zero_point_is_the_middle() -> None:
    ours, _ = written(pairs(weight="uint8", shift=128))
    np.testing.assert_array_equal(initial(ours)["w_quantized"], initial(pairs())["w"])
    _, plan = written(pairs(weight="uint8", shift=127))
    assert sum("not adopted: w" in d.detail for d in plan.quantized) == 2


def test_weights_that_16_bit_sums_cannot_hold_get_other_steps() -> None:
    ours, plan = written(pairs(), cpu="portable")
    assert sum("w (in other steps)" in d.detail for d in plan.quantized) == 2
    whole = initial(ours)["w_quantized"].astype(int)
    rows = np.moveaxis(whole, 1, -1).reshape(16, -1)
    assert np.abs(rows[:, 1:] + rows[:, :-1]).max() <= 128


def test_what_the_recipe_says_comes_before_what_the_model_says() -> None:
    override = Override(nodes=("Conv",), symmetric=True, weight_bits=7)
    _, plan = written(pairs(), overrides=(override,))
    assert sum("not adopted: a, w" in d.detail for d in plan.quantized) == 2
    _, plan = written(pairs(), activation_bits=16, weight_bits=4)
    assert sum("not adopted: a, w" in d.detail for d in plan.quantized) == 2
    _, plan = written(pairs(), adopt=False)
    assert all("adopted" not in d.detail for d in plan.decisions)


def test_the_numbers_of_float_sites_are_told_of() -> None:
    _, plan = written(pairs(), exclude=("Conv",))
    assert sum("not adopted: " in d.detail for d in plan.decisions) == 2


def test_a_pair_behind_the_output_keeps_the_name_of_the_output() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)  q = QuantizeLinear(a, s, z)
        y = DequantizeLinear(q, s, z) }""",
        w=(16, 16, 3, 3), s=np.float32(0.05), z=np.uint8(128),
    )  # fmt: skip
    ours, _ = written(model)
    assert [v.name for v in ours.graph.outputs] == ["y"]
    scales = [float(a) for n, a in initial(ours).items() if n.endswith("_scale") and a.ndim == 0]
    assert scales.count(float(np.float32(0.05))) == 1
    onnx.checker.check_model(ir.to_proto(ours), full_check=True)


def test_a_weight_that_is_turned_keeps_its_numbers() -> None:
    steps = np.linspace(0.001, 0.002, 128, dtype=np.float32)
    whole = np.random.default_rng(0).integers(-127, 128, (128, 128)).astype(np.int8)
    model = graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) { v = DequantizeLinear <axis = 0> (w, s, z)
        t = Transpose <perm = [1, 0]> (v)  y = MatMul(x, t) }""",
        w=whole, s=steps, z=np.zeros(128, np.int8),
    )  # fmt: skip
    ours, _ = written(model)
    np.testing.assert_array_equal(initial(ours)["w_1_scale"], steps)
    np.testing.assert_array_equal(initial(ours)["w_1_quantized"], whole.T)


def test_numbers_whose_weight_has_changed_are_not_kept() -> None:
    model = simplify(pairs())
    weight = model.graph.initializers["w"]
    assert weight.const_value is not None
    weight.const_value = ir.Tensor(weight.const_value.numpy() * np.float32(1.3), name="w")
    plan = QuantizeStatic().placed(model, ORT, WIDE)
    kept: dict[str, QParams] = adopted.kept(model, plan)
    assert set(kept) == {"a"}
    assert "not adopted: w" in plan.decisions[0].detail


def test_what_a_file_says_of_itself_is_not_believed() -> None:
    model = conv_relu_conv()
    model.metadata_props[adopted.KEY] = '{"x": {"scale": "none"}}'
    context = GraphContext(target=ORT, cpu=WIDE, calibration=given(None), record=lambda _: None)

    _, plan = written(model)
    assert "adopted" not in "".join(d.detail for d in plan.decisions)
    assert adopted.KEY not in Simplify().apply(model, context).metadata_props
