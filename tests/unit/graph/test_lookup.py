"""Tables that rows are looked up in, as 8-bit rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from gossamer.graph.roundings.gptq import Gptq
from gossamer.graph.steps.quantize_weights import QuantizeWeights
from gossamer.measure.isolate import Isolated, build
from gossamer.plan import Plan, Reason
from gossamer.run import NO_DATA, save
from gossamer.step import Calibration, GraphContext
from zoo.placed import ORT, graph, run, sqnr

IDS = np.array([[3, 0, 99, -1, 3]])


def language_model(rows: int = 100) -> ir.Model:
    """An embedding, read twice, and a product behind it."""
    return graph(
        """(int64[1, n] ids) => (float[1, n, 48] y, float[1, n, 64] z) {
        e = Gather(table, ids)  y = MatMul(e, w)  f = Gather(table, ids)  z = Relu(f) }""",
        table=(rows, 64), w=(64, 48),
    )  # fmt: skip


def applied(model: ir.Model, step: QuantizeWeights | None = None) -> tuple[ir.Model, Plan]:
    plans: list[Plan] = []
    calibration = Calibration(statistics=NO_DATA.statistics, feeds=lambda: iter([{"ids": IDS}]))
    context = GraphContext(target=ORT, cpu="portable", calibration=calibration, record=plans.append)
    return (step or QuantizeWeights(bits=8)).apply(model, context), plans[0]


def test_rows_come_within_half_a_step_of_what_they_were() -> None:
    table = language_model().graph.initializers["table"].const_value.numpy()  # type: ignore[union-attr]
    rows = table[IDS]

    own, plan = applied(language_model())
    got = run(ir.to_proto(own), {"ids": IDS})["z"]

    assert [(d.op, d.weight) for d in plan.quantized if d.op == "Gather"] == [
        ("Gather", "table")
    ] * 2
    half = np.abs(rows).max(axis=-1, keepdims=True) / 127 / 2
    assert (np.abs(got - np.maximum(rows, 0)) <= half * 1.001).all()


def test_one_table_is_stored_once_and_its_floats_are_gone() -> None:
    own, _ = applied(language_model())
    onnx.checker.check_model(ir.to_proto(own), full_check=False)

    stored = [v for v in own.graph.initializers.values() if v.shape == (100, 64)]
    assert [v.dtype for v in stored] == [ir.DataType.INT8]
    assert "table" not in own.graph.initializers


def test_a_row_of_zeros_stays_one() -> None:
    model = language_model()
    weight = model.graph.initializers["table"]
    array = weight.const_value.numpy().copy()  # type: ignore[union-attr]
    array[3] = 0
    weight.const_value = ir.Tensor(array, name="table")

    own, _ = applied(model)

    assert not run(ir.to_proto(own), {"ids": IDS})["z"][0, 0].any()


@pytest.mark.parametrize("exclude", ["gather", "Gather", "table lookup"])
def test_a_table_that_is_excluded_stays_in_float(exclude: str) -> None:
    model = language_model()
    next(iter(model.graph)).name = "table lookup"

    own, plan = applied(model, QuantizeWeights(bits=8, exclude=(exclude,)))

    assert own.graph.initializers["table"].dtype == ir.DataType.FLOAT
    assert Reason.EXCLUDED in {d.reason for d in plan.decisions}


def test_a_small_part_of_the_weights_is_not_worth_it() -> None:
    own, plan = applied(language_model(rows=2))

    decision = next(d for d in plan.decisions if d.op == "Gather")
    assert decision.reason is Reason.UNPROFITABLE
    assert decision.detail == "512 bytes, less than 1/20 of all weights"
    assert "table" in own.graph.initializers


def test_weights_are_rounded_with_the_rows_that_are_stored() -> None:
    """GPTQ runs the graph piece by piece; the pieces look up stored rows."""
    own, _ = applied(language_model(), QuantizeWeights(bits=4, rounding=Gptq()))

    wanted = run(ir.to_proto(language_model()), {"ids": IDS})
    got = run(ir.to_proto(own), {"ids": IDS})
    assert sqnr(wanted["y"], got["y"]) > 15  # of 4-bit weights
    assert sqnr(wanted["z"], got["z"]) > 40  # of 8-bit rows


@pytest.mark.openvino
def test_openvino_looks_up_stored_rows(tmp_path: Path) -> None:
    own, _ = applied(language_model())
    wanted = run(ir.to_proto(own), {"ids": IDS})["z"]

    save(own, tmp_path / "model.onnx")
    files = build("openvino", tmp_path / "model.onnx", tmp_path / "built")
    with Isolated("openvino", files[0], threads=1, precision="f32") as session:
        got = session.run({"ids": IDS})["z"]

    np.testing.assert_allclose(got, wanted, rtol=1e-6)
