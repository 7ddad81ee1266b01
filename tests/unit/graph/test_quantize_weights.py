"""Weights in groups of few bits: what is stored is what the runtimes multiply with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from gossamer import plugins
from gossamer.errors import RecipeError, TargetError
from gossamer.graph import spill
from gossamer.graph.groups import Groups
from gossamer.graph.roundings.gptq import Gptq
from gossamer.graph.roundings.nearest import Nearest
from gossamer.graph.steps.quantize_weights import QuantizeWeights
from gossamer.plan import Plan, Reason
from gossamer.recipe import Recipe
from gossamer.run import NO_DATA, save
from gossamer.runtime import Feed
from gossamer.step import Calibration, GraphContext
from gossamer.target import TargetSpec
from zoo.placed import OPENVINO, ORT, feed, graph, run, sqnr

Array = NDArray[np.float32]
INPUTS = 172  # no multiple of a group


def matmul() -> ir.Model:
    return graph("(float[2, 5, 172] x) => (float[2, 5, 48] y) { y = MatMul(x, w) }", w=(172, 48))


def gemm() -> ir.Model:
    return graph(
        "(float[4, 172] x) => (float[4, 48] y) { y = Gemm(x, w, b) }", w=(172, 48), b=(48,)
    )


def transposed() -> ir.Model:
    return graph(
        "(float[4, 172] x) => (float[4, 48] y) { y = Gemm <transB = 1> (x, w, b) }",
        w=(48, 172), b=(48,),
    )  # fmt: skip


def perceptron() -> ir.Model:
    """Two products of one value, the second weight read twice."""
    return graph(
        """(float[1, n, 64] x) => (float[1, n, 64] y) {
        a = MatMul(x, w1)  b = MatMul(x, w2)  r = Relu(a)  s = Sigmoid(b)  m = Mul(r, s)
        c = MatMul(m, w2)  y = Add(c, x) }""",
        w1=(64, 64), w2=(64, 64),
    )  # fmt: skip


def in_a_row() -> ir.Model:
    """Two products, the second of what the first one makes."""
    return graph(
        "(float[1, n, 64] x) => (float[1, n, 64] y) { a = MatMul(x, w1)  y = MatMul(a, w2) }",
        w1=(64, 64), w2=(64, 64),
    )  # fmt: skip


def deep() -> ir.Model:
    """Three products one behind the other."""
    return graph(
        """(float[1, n, 64] x) => (float[1, n, 64] y) {
        a = MatMul(x, w1)  r = Relu(a)  b = MatMul(r, w2)  s = Relu(b)  y = MatMul(s, w3) }""",
        w1=(64, 64), w2=(64, 64), w3=(64, 64),
    )  # fmt: skip


def samples(count: int = 24) -> list[Feed]:
    """Of inputs that depend on each other, so that roundings can make up for each other."""
    generator = np.random.default_rng(3)
    mix = generator.standard_normal((64, 64)).astype(np.float32) / 8
    mix[:, :8] *= 8
    return [
        {"x": (generator.standard_normal((1, 9 + i, 64)) @ mix).astype(np.float32)}
        for i in range(count)
    ]


def given(feeds: list[Feed]) -> Calibration:
    return Calibration(statistics=NO_DATA.statistics, feeds=lambda: iter(feeds))


def applied(
    step: QuantizeWeights,
    model: ir.Model,
    target: TargetSpec = ORT,
    calibration: Calibration = NO_DATA,
    folder: Path | None = None,
) -> tuple[ir.Model, Plan]:
    plans: list[Plan] = []
    context = GraphContext(
        target=target, cpu="portable", calibration=calibration, record=plans.append, folder=folder
    )
    return step.apply(model, context), plans[0]


def expected(model: ir.Model, groups: Groups) -> Array:
    """The product with the nearest stored weights, in numpy."""
    node = next(n for n in model.graph if n.op_type in {"MatMul", "Gemm"})
    weight = node.inputs[1].const_value.numpy()  # type: ignore[union-attr]
    rows = weight if node.attributes.get_int("transB", 0) else weight.T
    grid = groups.fitted(np.ascontiguousarray(rows))
    bias = node.inputs[2].const_value.numpy() if len(node.inputs) > 2 else 0  # type: ignore[union-attr]
    product: Array = feed(model)["x"] @ grid.dequantize(grid.quantize(rows)).T + bias
    return product


@pytest.mark.parametrize("size", [16, 32, 128])
@pytest.mark.parametrize("symmetric", [False, True], ids=["zero points", "symmetric"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("build", [matmul, gemm, transposed])
def test_onnx_runtime_multiplies_with_what_is_stored(
    build: object, bits: int, symmetric: bool, size: int
) -> None:
    model = build()  # type: ignore[operator]
    wanted = expected(model, Groups(bits=bits, size=size, symmetric=symmetric))
    step = QuantizeWeights(bits=bits, size=size, symmetric=symmetric)  # type: ignore[arg-type]

    own, plan = applied(step, build())  # type: ignore[operator]
    got = run(ir.to_proto(own), feed(model))["y"]
    assert [d.reason for d in plan.decisions] == [Reason.QUANTIZED]
    assert "MatMulNBits" in [n.op_type for n in own.graph]
    assert "w" not in own.graph.initializers
    assert sqnr(wanted, got) > 35  # its activations go to int8

    standard, _ = applied(
        QuantizeWeights(bits=bits, size=size, symmetric=symmetric, standard=True),  # type: ignore[arg-type]
        build(),  # type: ignore[operator]
    )
    onnx.checker.check_model(ir.to_proto(standard), full_check=True)
    got = run(ir.to_proto(standard), feed(model), optimize=False)["y"]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.openvino
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("build", [matmul, gemm, transposed])
@pytest.mark.parametrize("symmetric", [False, True], ids=["zero points", "symmetric"])
def test_openvino_multiplies_with_what_is_stored(
    build: object, bits: int, symmetric: bool, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    model = build()  # type: ignore[operator]
    wanted = expected(model, Groups(bits=bits, size=32, symmetric=symmetric))

    step = QuantizeWeights(bits=bits, symmetric=symmetric)  # type: ignore[arg-type]
    written, _ = applied(step, build(), OPENVINO)  # type: ignore[operator]

    save(written, tmp_path / "model.onnx")
    runtime = plugins.load("runtimes", "openvino")()
    session = runtime.open(tmp_path / "model.onnx", threads=1, precision="f32")
    assert sqnr(wanted, session.run(feed(model))["y"]) > 35


def test_a_weight_that_is_read_twice_is_stored_once() -> None:
    written, plan = applied(QuantizeWeights(), perceptron())
    assert len(plan.quantized) == 3
    assert sum(name.endswith("_stored") for name in written.graph.initializers) == 2
    assert {"w1", "w2"}.isdisjoint(written.graph.initializers)
    got = run(ir.to_proto(written), samples()[0])["y"]
    assert sqnr(run(ir.to_proto(perceptron()), samples()[0])["y"], got) > 15

    by_data, _ = applied(
        QuantizeWeights(rounding=Gptq()), perceptron(), calibration=given(samples())
    )
    shared = [m.graph.initializers["w2_stored"].const_value for m in (written, by_data)]
    assert np.array_equal(*(tensor.numpy() for tensor in shared))  # type: ignore[union-attr]


def test_gptq_loses_less_of_the_output_than_nearest() -> None:
    feeds = samples()
    lost = {}
    for rounding in (Nearest(), Gptq()):
        step = QuantizeWeights(rounding=rounding, standard=True)
        written, _ = applied(step, deep(), calibration=given(feeds))
        pairs = [
            (run(ir.to_proto(deep()), each)["y"], run(ir.to_proto(written), each)["y"])
            for each in feeds
        ]
        wanted, got = (np.concatenate(side, axis=1) for side in zip(*pairs, strict=True))
        lost[rounding] = sqnr(wanted, got)
    assert lost[Gptq()] > lost[Nearest()] + 1.5


def normalized() -> ir.Model:
    """Of two products that read one normalization, whose output has a few large channels."""
    size = np.ones(64, np.float32)
    size[::16] = 20
    return graph(
        """(float[1, n, 64] x) => (float[1, n, 64] y) {
        v = LayerNormalization <axis = -1> (x, g)  a = MatMul(v, w1)  b = MatMul(v, w2)
        y = Add(a, b) }""",
        g=size, w1=(64, 64), w2=(64, 64),
    )  # fmt: skip


def scaled() -> ir.Model:
    """The same behind a normalization that is written out."""
    size = np.ones(64, np.float32)
    size[::16] = 20
    return graph(
        """(float[1, n, 64] x) => (float[1, n, 64] y) {
        t = Tanh(x)  v = Mul(g, t)  a = MatMul(v, w1)  b = MatMul(v, w2)  y = Add(a, b) }""",
        g=size, w1=(64, 64), w2=(64, 64),
    )  # fmt: skip


def test_a_product_of_what_a_product_made_is_rounded_by_what_that_one_stored() -> None:
    step = QuantizeWeights(bits=8, rounding=Gptq(), activation_aware=True)
    written, plan = applied(step, in_a_row(), calibration=given(samples()))
    assert len(plan.quantized) == 2
    got = run(ir.to_proto(written), samples()[0])["y"]
    assert sqnr(run(ir.to_proto(in_a_row()), samples()[0])["y"], got) > 30


@pytest.mark.parametrize("build", [normalized, scaled])
def test_inputs_with_much_power_get_finer_steps(build: object) -> None:
    feeds, lost = samples(), {}
    for aware in (False, True):
        step = QuantizeWeights(activation_aware=aware, standard=True)
        model = build()  # type: ignore[operator]
        written, _ = applied(step, model, calibration=given(feeds))
        pairs = [
            (run(ir.to_proto(build()), each)["y"], run(ir.to_proto(written), each)["y"])  # type: ignore[operator]
            for each in feeds
        ]
        wanted, got = (np.concatenate(side, axis=1) for side in zip(*pairs, strict=True))
        lost[aware] = sqnr(wanted, got)
    assert lost[True] > lost[False] + 3


def test_a_value_that_others_read_keeps_its_size() -> None:
    model = perceptron()  # its first products read an input of the graph
    written, _ = applied(
        QuantizeWeights(activation_aware=True), perceptron(), calibration=given(samples())
    )
    plain, _ = applied(QuantizeWeights(), model)
    for name in ("w1_stored", "w2_stored"):
        tensors = [m.graph.initializers[name].const_value for m in (written, plain)]
        assert np.array_equal(*(tensor.numpy() for tensor in tensors))  # type: ignore[union-attr]


def test_what_stays_in_float_has_its_reason() -> None:
    model = graph(
        """(float[1, 4, 24] x, float[24, 24] v) => (float[1, 4, 64] y, float[1, 4, 24] z) {
        a = MatMul(x, w1)  y = MatMul(a, w2)  z = MatMul(x, v) }""",
        w1=(24, 64), w2=(64, 64),
    )  # fmt: skip
    written, plan = applied(QuantizeWeights(exclude=("matmul1",)), model)
    assert [(d.site, d.reason) for d in plan.decisions] == [
        ("matmul0", Reason.UNPROFITABLE),
        ("matmul1", Reason.EXCLUDED),
        ("matmul2", Reason.NO_WEIGHT),
    ]
    assert "24 inputs, fewer than a group of 32" in plan.decisions[0].detail
    assert [n.op_type for n in written.graph] == ["MatMul"] * 3


def test_large_weights_lie_on_disk_until_they_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wide() -> ir.Model:
        return graph("(float[1, 64] x) => (float[1, 64] y) { y = MatMul(x, w) }", w=(64, 64))

    monkeypatch.setattr(spill, "LARGE", 1)
    (tmp_path / "between").mkdir()
    (tmp_path / "out").mkdir()
    in_memory, _ = applied(QuantizeWeights(), wide())
    on_disk, _ = applied(QuantizeWeights(), wide(), folder=tmp_path / "between")

    kept = on_disk.graph.initializers["w_stored"].const_value
    assert isinstance(kept, ir.ExternalTensor)
    save(on_disk, tmp_path / "out" / "model.onnx")
    read = onnx.load(tmp_path / "out" / "model.onnx")
    a, b = run(ir.to_proto(in_memory), feed(wide())), run(read, feed(wide()))
    assert np.array_equal(a["y"], b["y"])


def test_a_target_without_such_kernels_refuses() -> None:
    with pytest.raises(TargetError, match=r"weights in groups.*Use quantize-static"):
        applied(QuantizeWeights(), matmul(), replace(ORT, weight_only=None))


def test_a_recipe_names_the_rounding_and_wrong_values_are_refused() -> None:
    fields = {"bits": 8, "size": 64, "rounding": {"gptq": {"damping": 0.1}}}
    steps = [{"quantize-weights": fields}]
    recipe = Recipe.parse({"target": "ort-cpu", "graph-steps": steps})
    assert recipe.graph_steps == (QuantizeWeights(bits=8, size=64, rounding=Gptq(damping=0.1)),)
    assert Recipe.parse(recipe.dump()) == recipe
    with pytest.raises(RecipeError, match=r"16, 32, 64, 128, 256.*48"):
        QuantizeWeights(size=48)
    with pytest.raises(RecipeError, match=r"3"):
        plugins.parse("steps", {"quantize-weights": {"bits": 3}})
