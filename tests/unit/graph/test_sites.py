"""Sites of graphs with Q/DQ, the same graphs with sites in float, and both beside the float one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import NameFixPass

from gossamer.errors import PlanError
from gossamer.graph.absorbed import restored
from gossamer.graph.beside import beside
from gossamer.graph.passes.repeated_relu import repeated_relu
from gossamer.graph.passes.simplify import simplify
from gossamer.graph.sites import in_float, originals, sites, stored
from zoo import placed, quantized, whole


def copied(model: ir.Model) -> ir.Model:
    return ir.from_proto(ir.to_proto(model))


def output(model: ir.Model, data: placed.Feed) -> np.ndarray:
    (found,) = placed.run(ir.to_proto(model), data, optimize=False).values()
    return found


def decibel(wanted: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum()))


def test_a_site_is_a_node_that_reads_stored_numbers() -> None:
    model, plan = placed.quantized(placed.residual())

    found = sites(model.graph)

    assert [s.name for s in found] == [d.site for d in plan.quantized]
    conv = found[0]
    assert (conv.reads[0].value, conv.reads[0].is_constant) == ("x", False)
    assert found[-1].output == "y"  # though what it makes is called otherwise


def test_with_all_sites_in_float_the_graph_is_the_float_graph() -> None:
    float_model = placed.residual()
    model, _ = placed.quantized(float_model)
    data = placed.feed(float_model)
    found = sites(model.graph)

    bare = in_float(model, found, originals(model, found, float_model))

    # biases took up the mean error of weights; with float ones in their place nothing is left
    assert output(bare, data) == pytest.approx(output(float_model, data), abs=1e-5)
    assert "QuantizeLinear" not in {n.op_type for n in bare.graph}


def test_a_site_in_float_leaves_the_others_as_they_are() -> None:
    float_model = placed.residual()
    model, _ = placed.quantized(float_model)
    found = sites(model.graph)
    kept = originals(model, found, float_model)

    rest = sites(in_float(copied(model), found[:1], kept).graph)

    assert [s.name for s in rest] == [s.name for s in found[1:]]


def test_numbers_behind_a_read_are_those_of_its_pair() -> None:
    model, _ = placed.quantized(placed.conv_relu_conv())
    (first, *_) = sites(model.graph)
    of_input, of_weight = (stored(model.graph, read) for read in first.reads[:2])

    assert of_input is not None
    assert of_weight is not None
    assert (of_input.low, of_input.high, of_input.integers) == (0, 255, None)
    assert of_weight.integers is not None
    assert of_weight.numbers.axis == 0


def test_a_relu_that_the_range_stands_for_is_put_back(tmp_path: Path) -> None:
    path = whole.classifier(tmp_path / "float.onnx")
    rows = np.load(whole.samples(tmp_path / "data.npz", 8))["image"]
    model = ir.load(quantized.by_ort(path, tmp_path / "ort.onnx", [r[None] for r in rows]))
    NameFixPass()(model)  # as every source does
    float_model = simplify(ir.load(path))
    assert "Relu" not in {n.op_type for n in model.graph}

    found = sites(restored(model, float_model).graph)
    bare = in_float(copied(model), found, originals(model, found, float_model))

    assert [n.op_type for n in model.graph].count("Relu") == 2
    data = {"image": rows[:1]}
    assert output(bare, data) == pytest.approx(output(float_model, data), abs=1e-5)


def test_one_run_tells_the_error_at_every_site() -> None:
    float_model = placed.residual()
    model, _ = placed.quantized(float_model)
    data = placed.feed(float_model)
    found = sites(model.graph)
    last = found[-1]
    kept = originals(model, found, float_model)
    wanted = output(float_model, data)

    both, sums = beside(copied(float_model), copied(model), found)
    told = placed.run(ir.to_proto(both), data, optimize=False)

    assert set(sums) == {s.name for s in found}
    first = sums[found[0].name]
    assert first.alone is not None
    # nothing is quantized before the first site
    assert told[first.alone] == pytest.approx(told[first.accumulated], rel=1e-4)
    ours = sums[last.name]
    assert told[ours.signal] == pytest.approx(np.square(wanted).sum(), rel=1e-4)
    alone = output(in_float(copied(model), found[:-1], kept), data)
    assert ours.alone is not None
    # the run of the file also stores the output, which makes about as much noise again
    assert decibel(wanted, alone) == pytest.approx(
        10 * np.log10(told[ours.signal] / told[ours.alone]), abs=4
    )


def test_values_that_are_others_by_intent_are_not_compared() -> None:
    model, _ = placed.quantized(placed.residual())
    found = sites(model.graph)

    _, sums = beside(placed.residual(), model, found, changed={"b"})

    assert "conv2" not in sums
    assert sums["add3"].alone is None


def test_graphs_of_other_inputs_are_refused() -> None:
    model, _ = placed.quantized(placed.residual())

    with pytest.raises(PlanError, match="a quantized graph with the inputs a in opset 18"):
        beside(placed.graph("(float[2] a) => (float[2] b) { b = Relu(a) }"), model, [])


def test_a_relu_that_we_took_out_ourselves_is_put_back() -> None:
    float_model = placed.conv_relu_conv()
    model, _ = placed.quantized(float_model, placed.OPENVINO)
    model = repeated_relu(model)
    assert "Relu" not in {n.op_type for n in model.graph}

    found = sites(restored(model, float_model).graph)

    assert found[1].reads[0].value == "r"
    # of stored weights and corrected biases, but without any Q on the way
    data = placed.feed(float_model)
    assert decibel(output(float_model, data), output(in_float(model, found, {}), data)) > 35
