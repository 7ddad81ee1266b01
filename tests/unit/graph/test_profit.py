"""Labels of least cost: against every other labelling, and on real graphs with made-up costs."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.costs import Costs, KernelCost, Machine
from gossamer.graph.cut import NEVER, source_side
from gossamer.graph.pieces import float_model, int8_model, label, pieces, wanted_shapes
from gossamer.graph.place import Wish, place
from gossamer.graph.profit import Crossing, Prices, cheapest, lost, prices
from gossamer.plan import Plan
from gossamer.target import TargetSpec
from zoo.placed import OPENVINO, ORT, block, conv_relu_conv, graph, residual, run

HERE = Machine(target="ort-cpu", runtime="any", cpu="any", flags=(), threads=1)
UNIFORM = Wish(cpu="portable", is_uniform=True)
SITES = tuple("abcde")


@st.composite
def chains(draw: st.DrawFn) -> Prices:
    """Sites that each read what some made before, or what is computed in float."""
    nanoseconds = st.integers(0, 20)
    count = draw(st.integers(1, len(SITES)))
    names = SITES[:count]
    crossings = []
    for i in range(-1, count):
        readers = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
        crossings.append(
            Crossing(
                maker=None if i < 0 else names[i],
                readers=tuple(r for r in readers if names.index(r) > i),
                is_read=draw(st.booleans()),
                quantize=draw(nanoseconds),
                dequantize=draw(nanoseconds),
            )
        )
    fixed = draw(st.dictionaries(st.sampled_from(names), st.booleans(), max_size=1))
    kernels = {n: (draw(nanoseconds), draw(nanoseconds)) for n in names if n not in fixed}
    return Prices(kernels=kernels, crossings=tuple(crossings), fixed=fixed, moving={})


@given(chains())
def test_no_other_labels_cost_less(found: Prices) -> None:
    free = list(found.kernels)
    forced = {name for name, is_int8 in found.fixed.items() if is_int8}
    totals = [
        found.total({*chosen, *forced})
        for count in range(len(free) + 1)
        for chosen in itertools.combinations(free, count)
    ]

    chosen = cheapest(found)

    assert found.total(chosen) == min(totals)
    assert all((name in chosen) == is_int8 for name, is_int8 in found.fixed.items())


def test_an_edge_that_must_not_be_cut_is_not() -> None:
    edges = {("s", "a"): 1, ("a", "b"): NEVER, ("b", "t"): 5, ("s", "b"): 2}
    assert source_side(edges, "s", "t") == {"s"}
    assert source_side({**edges, ("s", "a"): 9}, "s", "t") == {"s", "a", "b"}


def test_what_moves_numbers_is_int8_only_behind_int8() -> None:
    between = (
        Crossing(maker="a", readers=("move",), quantize=5, dequantize=5),
        Crossing(maker="move", readers=("b",), quantize=5, dequantize=5),
    )
    both = Prices(
        kernels={"a": (10, 6), "b": (10, 6)}, crossings=between, fixed={}, moving={"move": "a"}
    )
    assert cheapest(both) == {"a", "move", "b"}
    slow = Prices(
        kernels={"a": (10, 30), "b": (10, 9)}, crossings=between, fixed={}, moving={"move": "a"}
    )
    assert cheapest(slow) == set()


def shapes_of(model: ir.Model, plan: Plan) -> dict[str, tuple[int, ...]]:
    values = {
        v.name: v for v in (*model.graph.inputs, *(o for n in model.graph for o in n.outputs))
    }
    return {
        name: tuple(int(d) for d in values[name].shape or () if isinstance(d, int))
        for name in wanted_shapes(model.graph, plan)
    }


def costs_of(model: ir.Model, plan: Plan, **int8: float) -> Costs:
    """A millisecond for every kernel in float32, and in int8 what is said of each site."""
    kernels = {
        p.signature: KernelCost(float32=(1e-3,), int8=(int8.get(p.decision.site, 5e-4),))
        for p in pieces(model.graph, plan, shapes_of(model, plan))
    }
    return Costs(machine=HERE, kernels=kernels, quantize={1: (1e-4,)}, dequantize={1: (1e-4,)})


def test_a_site_whose_int8_kernel_is_slow_stays_in_float_and_says_by_how_much() -> None:
    model = residual()
    able, wise = place(model, ORT, UNIFORM), place(model, ORT, Wish())
    shapes = shapes_of(model, able)
    costs = costs_of(model, able, conv5=2e-3)
    costs = Costs(machine=HERE, kernels=costs.kernels)  # conversions take no time
    found = prices(model.graph, able, wise, shapes, costs)

    in_int8 = cheapest(found)

    assert in_int8 == {"conv0", "conv2", "add3"}
    assert lost(found, in_int8, "conv5") == pytest.approx((1.0, 2.0))


@pytest.mark.parametrize(
    ("conversion", "chosen"), [(1e-7, "conv0 conv1 conv2"), (0, "conv0 conv2")]
)
def test_a_slow_site_between_int8_sites_is_int8_where_conversions_cost_more_than_it_loses(
    conversion: float, chosen: str
) -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {
        a = Conv (x, w1)  b = Conv <pads = [1, 1, 1, 1]> (a, w2)  y = Conv (b, w3) }""",
        w1=(16, 16, 1, 1), w2=(16, 16, 3, 3), w3=(16, 16, 1, 1),
    )  # fmt: skip
    able = place(model, ORT, UNIFORM)
    kernels = costs_of(model, able, conv1=1.05e-3).kernels  # 0.05 ms are lost
    times = {1024: (conversion * 1024,)}  # 0.2 ms for the Q and the DQ that it would take
    costs = Costs(machine=HERE, kernels=kernels, quantize=times, dequantize=times)
    found = prices(model.graph, able, able, shapes_of(model, able), costs)
    assert " ".join(sorted(cheapest(found))) == chosen


def test_sites_that_were_not_measured_follow_the_rules_of_the_target() -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 8, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w1)  y = Conv <pads = [1, 1, 1, 1]> (a, w2) }""",
        w1=(16, 16, 3, 3), w2=(8, 16, 3, 3),
    )  # fmt: skip
    able, wise = place(model, ORT, UNIFORM), place(model, ORT, Wish())
    found = prices(model.graph, able, wise, shapes_of(model, able), Costs(machine=HERE))
    assert {d.site for d in able.quantized} == {"conv0", "conv1"}
    assert cheapest(found) == {"conv0"}  # 8 channels: the rule says no


def test_a_uniform_wish_asks_neither_for_sizes_nor_for_neighbours() -> None:
    model = graph(
        """(float[1, 8, 4, 4] x) => (float[1, 8, 4, 4] y) {
        e = Exp(x)  a = Conv (x, w)  n = Tanh(a)  y = Add(n, e) }""",
        w=(8, 8, 1, 1),
    )
    assert place(model, ORT, Wish()).quantized == ()
    plan = place(model, ORT, UNIFORM)
    assert [(d.site, d.inputs, d.outputs) for d in plan.quantized] == [
        ("conv1", ("x",), ("a",)),
        ("add3", ("n", "e"), ("y",)),
    ]


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
@pytest.mark.parametrize("make", [conv_relu_conv, residual, block])
def test_every_piece_runs_alone_and_its_int8_form_reads_integers(
    make: type[ir.Model], target: TargetSpec
) -> None:
    model = make()
    plan = place(model, target, UNIFORM)
    shapes = shapes_of(model, plan)
    random = np.random.default_rng(0)
    found = list(pieces(model.graph, plan, shapes))
    assert len(found) >= 2
    for piece in found:
        alone = float_model(piece, model, shapes)
        feed = {
            v.name or "": random.standard_normal(shapes[v.name or ""]).astype(np.float32)
            for v in alone.graph.inputs
        }
        (out,) = run(ir.to_proto(alone), feed).values()
        assert out.shape == shapes[piece.output.name or ""]
        stored = int8_model(piece, model, shapes, plan)
        kinds = {v.dtype for v in stored.graph.inputs}
        assert kinds & {ir.DataType.UINT8, ir.DataType.INT8}
        ops = [n.op_type for n in stored.graph]
        assert ops.count("QuantizeLinear") == bool(piece.decision.outputs)


def test_equal_sites_have_one_signature_and_others_their_own() -> None:
    model = residual()
    plan = place(model, ORT, UNIFORM)
    found = {
        p.decision.site: p.signature for p in pieces(model.graph, plan, shapes_of(model, plan))
    }
    assert len(set(found.values())) == 4  # with Relu and bias, without Relu, without both, Add
    assert label(found["conv0"]) == "Conv 1x16x8x8 (16x16x3x3) (16) > Relu 1x16x8x8"
    assert "s16" in found["conv0"]
