"""What the targets state, against the runtimes: one operator at a time between int8 neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnxscript import version_converter

from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.observers.percentile import Percentile
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.quantize_weights import QuantizeWeights
from gossamer.run import NO_DATA
from gossamer.step import GraphContext, RangeRule
from gossamer.target import TargetSpec
from zoo.placed import (
    CPU,
    OPENVINO,
    ORT,
    Feed,
    decision,
    feed,
    given,
    graph,
    observed,
    quantized,
    run,
    sqnr,
)

MIN_MAX = MinMax()
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1])
CONV = "Conv <pads = [1, 1, 1, 1]>"


def between(nodes: str, out: str = "float[1, 16, h, w]", **constants: object) -> ir.Model:
    """A Conv that makes `a`, `nodes` from `a` to `z`, and a Conv that reads `z`."""
    return graph(
        f"(float[1, 16, 8, 8] x) => ({out} y) {{ a = {CONV} (x, w1) {nodes} y = {CONV} (z, w2) }}",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3), **constants,  # type: ignore[arg-type]
    )  # fmt: skip


def pool(op: str) -> Callable[[], ir.Model]:
    return lambda: between(f"z = {op} <kernel_shape = [2, 2], strides = [2, 2]> (a)")


def matmul() -> ir.Model:
    return graph(
        "(float[1, 8, 128] x) => (float[1, 8, 128] y) { p = MatMul(x, w)  y = Add(p, b) }",
        w=(128, 128), b=(128,),
    )  # fmt: skip


def gemm() -> ir.Model:
    return graph(
        "(float[2, 128] x) => (float[2, 128] y) { y = Gemm(x, w, b) }", w=(128, 128), b=(128,)
    )


ORT_KERNELS: dict[str, tuple[Callable[[], ir.Model], str]] = {
    "Conv": (lambda: between("z = Relu(a)"), "QLinearConv"),
    "MatMul": (matmul, "MatMulIntegerToFloat"),
    "Gemm": (gemm, "QGemm"),
    "Add": (lambda: between(f"b = {CONV} (x, w3) z = Add(a, b)", w3=(16, 16, 3, 3)), "QLinearAdd"),
    "Mul": (lambda: between(f"b = {CONV} (x, w3) z = Mul(a, b)", w3=(16, 16, 3, 3)), "QLinearMul"),
    "Concat": (
        lambda: between(f"b = {CONV} (x, w3) z = Concat <axis = 2> (a, b)", w3=(16, 16, 3, 3)),
        "QLinearConcat",
    ),
    "AveragePool": (pool("AveragePool"), "QLinearAveragePool"),
    "GlobalAveragePool": (lambda: between("z = GlobalAveragePool(a)"), "QLinearGlobalAveragePool"),
    "Sigmoid": (lambda: between("z = Sigmoid(a)"), "QLinearSigmoid"),
    "LeakyRelu": (lambda: between("z = LeakyRelu(a)"), "QLinearLeakyRelu"),
}

AXIS = {"axis": np.array([1])}
SHAPE = {"shape": np.array([1, 16, 4, 16])}
ENDS = {"start": np.array([0, 0]), "end": np.array([4, 4]), "axes": np.array([2, 3])}
MOVERS: dict[str, Callable[[], ir.Model]] = {
    "MaxPool": pool("MaxPool"),
    "Reshape": lambda: between("z = Reshape(a, shape)", **SHAPE),
    "Transpose": lambda: between("z = Transpose <perm = [0, 1, 3, 2]> (a)"),
    "Squeeze": lambda: between(
        "r = Reshape(a, long) z = Squeeze(r, axis)", long=np.array([1, 1, 16, 8, 8]), **AXIS
    ),
    "Unsqueeze": lambda: between("u = Unsqueeze(a, axis) z = Reshape(u, shape)", **AXIS, **SHAPE),
    "Flatten": lambda: between("f = Flatten(a) z = Reshape(f, shape)", **SHAPE),
    "Slice": lambda: between("z = Slice(a, start, end, axes)", **ENDS),
    "Resize": lambda: between(
        'z = Resize <mode = "nearest"> (a, , scales)', scales=np.array([1, 1, 2, 2], np.float32)
    ),
}


def optimized(model: ir.Model, folder: Path) -> list[str]:
    """Operator types in the graph that ONNX Runtime runs."""
    path = folder / "optimized.onnx"
    run(ir.to_proto(model), feed(model), path)
    return [n.op_type for n in onnx.load(path).graph.node]


@pytest.mark.parametrize("op", ORT_KERNELS)
def test_onnx_runtime_runs_the_int8_kernel(op: str, tmp_path: Path) -> None:
    build, kernel = ORT_KERNELS[op]
    written, _ = quantized(build(), ORT)
    assert kernel in optimized(written, tmp_path)


@pytest.mark.parametrize("op", MOVERS)
def test_onnx_runtime_moves_int8_without_dequantizing(op: str, tmp_path: Path) -> None:
    written, _ = quantized(MOVERS[op](), ORT)
    types = optimized(written, tmp_path)
    assert types.count("QLinearConv") == 2
    assert types.count("DequantizeLinear") <= 1  # the one of the output


def test_every_rule_of_onnx_runtime_is_told_of() -> None:
    stated = {op for rule in ORT.rules for op in rule.ops} | set(ORT.follows)
    assert stated == set(ORT_KERNELS)
    assert set(ORT.transparent) - {"Pad"} == set(MOVERS)  # Pad keeps its pair


def executed(model: ir.Model) -> list[tuple[str, str, str]]:
    """Layer type, kernel and type of the output of every node that OpenVINO runs, in order."""
    from gossamer.runtimes.openvino import package

    openvino = package()
    core = openvino.Core()
    network = core.read_model(ir.to_proto(model).SerializeToString())
    compiled = core.compile_model(network, "CPU", {"INFERENCE_NUM_THREADS": 1})
    keys = ("layerType", "primitiveType", "outputPrecisions")
    return [
        tuple(str(node.get_rt_info()[key].astype(str)) for key in keys)
        for node in compiled.get_runtime_model().get_ordered_ops()
    ]


def by_openvino(model: ir.Model, data: Feed) -> NDArray[np.float32]:
    """The output in float32, where kernels are not int8."""
    from gossamer.runtimes.openvino import package

    core = package().Core()
    network = core.read_model(ir.to_proto(model).SerializeToString())
    compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return next(iter(compiled(data).values()))  # type: ignore[no-any-return]


def transposed() -> ir.Model:
    return graph(
        "(float[1, 16, 8, 8] x) => (float[1, 16, 16, 16] y) { r = Relu(x)"
        "  y = ConvTranspose <strides = [2, 2], kernel_shape = [2, 2]> (r, w) }",
        w=(16, 16, 2, 2),
    )


OPENVINO_SITES: dict[str, tuple[Callable[[], ir.Model], str]] = {
    "Conv": (lambda: between("z = Relu(a)"), "Conv"),
    "ConvTranspose": (transposed, "ConvTranspose"),
    "MatMul": (matmul, "MatMul"),
    "Gemm": (gemm, "Gemm"),
}
OPENVINO_BETWEEN: dict[str, Callable[[], ir.Model]] = {
    **{op: ORT_KERNELS[op][0] for op in ("Add", "AveragePool", "GlobalAveragePool")},
    **{op: build for op, build in MOVERS.items() if op != "Resize"},
    "Pad": lambda: between("z = Pad(a, pads)", pads=PADS),
    "Split": lambda: between("s, z = Split <axis = 2, num_outputs = 2> (a)"),
    "Identity": lambda: between("z = Identity(a)"),
}


@pytest.mark.openvino
@pytest.mark.parametrize("op", OPENVINO_SITES)
def test_openvino_runs_the_int8_kernel(op: str) -> None:
    pytest.importorskip("openvino")
    build, kind = OPENVINO_SITES[op]
    written, plan = quantized(build(), OPENVINO)
    sites = [d.site for d in plan.quantized if d.op == kind]
    layers = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}
    kernels = [kernel for layer, kernel, _ in executed(written) if layer in layers]
    assert sites
    assert kernels
    assert all(kernel.lower().endswith("i8") for kernel in kernels), kernels


@pytest.mark.openvino
@pytest.mark.parametrize("op", OPENVINO_BETWEEN)
def test_openvino_stays_in_int8_between_two_convs(op: str) -> None:
    pytest.importorskip("openvino")
    written, plan = quantized(OPENVINO_BETWEEN[op](), OPENVINO)
    assert (op in {d.op for d in plan.quantized}) == (op not in OPENVINO.transparent)
    run_by = executed(written)
    convs = [i for i, (layer, _, _) in enumerate(run_by) if layer == "Convolution"]
    inner = [each for each in run_by[convs[0] : convs[-1]] if each[0] != "Const"]
    assert {precision for _, _, precision in inner} == {"u8"}, inner


def test_every_rule_of_openvino_is_told_of() -> None:
    stated = {op for rule in OPENVINO.rules for op in rule.ops} | set(OPENVINO.follows)
    assert stated | set(OPENVINO.transparent) == set(OPENVINO_SITES) | set(OPENVINO_BETWEEN)


@pytest.mark.openvino
def test_openvino_is_right_about_a_conv_without_bias_that_two_nodes_read() -> None:
    pytest.importorskip("openvino")
    model = graph(
        f"""(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {{ a = {CONV} (x, w1)
        r = Relu(a)  b = {CONV} (r, w2)  y = Add(a, b) }}""",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3),
    )  # fmt: skip
    written, plan = quantized(model, OPENVINO)
    assert decision(plan, "conv0").nonzero_bias
    data = feed(model)
    assert sqnr(run(ir.to_proto(model), data)["y"], by_openvino(written, data)) > 25


@pytest.mark.openvino
def test_openvino_quantizes_in_the_kernel_of_a_mul() -> None:
    pytest.importorskip("openvino")
    model = graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) { n = LayerNormalization <axis = -1> (x, g)
        p = MatMul(n, w)  y = Add(n, p) }""",
        g=np.ones(128, np.float32), w=(128, 128),
    )  # fmt: skip
    kinds = {}
    for behind in (False, True):
        written, _ = quantized(model, replace(OPENVINO, smooths=behind))
        written.graph.inputs[0].shape = ir.Shape(["batch", "sequence", 128])  # as exporters do
        kinds[behind] = [kind for kind, _, _ in executed(written)]
    assert "FakeQuantize" in kinds[False]
    assert "FakeQuantize" not in kinds[True]


def in_groups(bits: Literal[4, 8], *, standard: bool) -> ir.Model:
    """A MatMul whose weight is stored in groups."""
    model = graph("(float[1, 8, 128] x) => (float[1, 8, 96] y) { y = MatMul(x, w) }", w=(128, 96))
    context = GraphContext(target=ORT, cpu="portable", calibration=NO_DATA, record=lambda _: None)
    return QuantizeWeights(bits=bits, standard=standard).apply(model, context)


@pytest.mark.parametrize("standard", [False, True], ids=["MatMulNBits", "DequantizeLinear"])
@pytest.mark.parametrize("bits", [4, 8])
def test_onnx_runtime_multiplies_with_weights_in_groups(
    bits: Literal[4, 8], standard: bool, tmp_path: Path
) -> None:
    assert ORT.weight_only is not None
    assert "MatMulNBits" in optimized(in_groups(bits, standard=standard), tmp_path)


@pytest.mark.openvino
@pytest.mark.parametrize("standard", [False, True], ids=["MatMulNBits", "DequantizeLinear"])
@pytest.mark.parametrize("bits", [4, 8])
def test_openvino_multiplies_with_weights_in_groups(bits: Literal[4, 8], standard: bool) -> None:
    pytest.importorskip("openvino")
    assert OPENVINO.weight_only is not None
    layers = executed(in_groups(bits, standard=standard))
    assert [layer for layer, _, _ in layers if layer in {"FullyConnected", "MatMul"}] == [
        "FullyConnected"
    ]
    kinds = {precision for layer, _, precision in layers if layer == "Const"}
    assert f"u{bits}" in kinds


def in_16_bits(
    model: ir.Model, target: TargetSpec, opset: int = 18, ranges: RangeRule = MIN_MAX
) -> ir.Model:
    """A copy with 16-bit Q/DQ, whatever the target says."""
    if opset > 18:
        version_converter.convert_version(model, opset)
    able = replace(target, activation_bits=(8, 16))
    clean = ir.from_proto(ir.to_proto(model))
    context = GraphContext(
        target=able, cpu=CPU, record=lambda _: None,
        calibration=given(lambda v: observed(clean, tuple(v), feed(clean)), feed(clean)),
    )  # fmt: skip
    return QuantizeStatic(activation_bits=16, ranges=ranges).apply(model, context)


@pytest.mark.parametrize("opset", [18, 21, 23])
@pytest.mark.parametrize("op", ["Conv", "MatMul", "Gemm", "Add", "Concat", "Sigmoid"])
def test_onnx_runtime_runs_in_float_between_16_bit_pairs(
    op: str, opset: int, tmp_path: Path
) -> None:
    make, kernel = ORT_KERNELS[op]
    written = in_16_bits(make(), ORT, opset)
    names = optimized(written, tmp_path)
    assert kernel not in names
    assert op in names
    assert "DequantizeLinear" in names  # of the weight, too: once more for each run
    assert names.count("DequantizeLinear") > names.count("QuantizeLinear")
    domain = "com.microsoft" if opset < 21 else ""
    assert {n.domain for n in written.graph if n.op_type == "QuantizeLinear"} == {domain}
    expected, got = (run(ir.to_proto(m), feed(make()))["y"] for m in (make(), written))
    assert sqnr(expected, got) > 35


@pytest.mark.openvino
def test_openvino_leaves_16_bit_pairs_out_and_does_not_cut_off() -> None:
    pytest.importorskip("openvino")
    model = between("z = Relu(a)")
    data = feed(model)
    expected = run(ir.to_proto(model), data)["y"]
    written = in_16_bits(between("z = Relu(a)"), OPENVINO, ranges=Percentile(p=50.0))
    kinds = executed(written)
    assert not [kind for kind in kinds if kind[0] == "FakeQuantize" or kind[2] in {"u8", "i8"}]
    assert sqnr(expected, run(ir.to_proto(written), data)["y"]) < 20  # as the file says
    assert sqnr(expected, by_openvino(written, data)) > 35
    assert OPENVINO.activation_bits == (8,)
