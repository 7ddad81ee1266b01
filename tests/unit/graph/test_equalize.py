from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from gossamer.graph.equalize import equalizing_factors
from gossamer.graph.layout import by_output, divided
from gossamer.graph.place import Wish, place
from gossamer.graph.rescale import fold, makers
from gossamer.graph.smooth import rescaled
from gossamer.statistics import ChannelStatistics
from zoo.placed import OPENVINO, ORT, feed, graph, observed, run, sqnr


def chain() -> ir.Model:
    """Three Convs, the middle one depthwise; its weight takes part on both sides."""
    return graph(
        """(float[1, 16, 9, 9] x) => (float[1, 16, 5, 5] y) {
        a = Conv (x, w1, b1)  r = Relu(a)  c = Conv <group = 16> (r, w2, b2)  s = Relu(c)
        y = Conv (s, w3) }""",
        w1=(16, 16, 1, 1), b1=(16,), w2=(16, 1, 3, 3), b2=(16,), w3=(16, 16, 3, 3),
    )  # fmt: skip


def normalised() -> ir.Model:
    return graph(
        """(float[1, 8, 128] x) => (float[1, 8, 128] y) {
        n = LayerNormalization <axis = -1> (x, g)  p = MatMul(n, w1)  q = MatMul(n, w2)
        y = Add(p, q) }""",
        g=np.linspace(0.1, 9, 128, dtype=np.float32), w1=(128, 128), w2=(128, 128),
    )  # fmt: skip


def known(
    model: ir.Model, names: tuple[str, ...], silent: int | None = None
) -> dict[str, ChannelStatistics]:
    """What a calibration saw of the channels, of one of them nothing."""
    found = observed(model, names, feed(model)).channels
    if silent is not None:
        for name in names:
            for part in (found[name].low, found[name].high):
                assert part is not None
                part[silent] = 0
    return {name: found[name] for name in names}


def equalized(
    model: ir.Model, silent: int | None = None
) -> tuple[ir.Model, dict[str, NDArray[np.float32]]]:
    """A copy in which factors went to both sides, and the factors."""
    plan = place(model, ORT, Wish())
    names = rescaled(tuple(model.graph), plan)
    factors = equalizing_factors(model.graph, plan, names, known(model, names, silent))
    copy = ir.from_proto(ir.to_proto(model))
    values = {v.name: v for n in copy.graph for v in n.outputs}
    for name, each in factors.items():
        fold(copy.graph, makers(values[name], frozenset(plan.values)), each)
        for use in values[name].uses():
            weight = use.node.inputs[1]
            assert weight is not None
            assert weight.const_value is not None
            array = divided(use.node, weight.const_value.numpy(), each)
            weight.const_value = ir.Tensor(array, name=weight.name)
    return copy, factors


def array(model: ir.Model, name: str) -> NDArray[np.float32]:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


@pytest.mark.parametrize("build", [chain, normalised])
def test_the_function_stays_the_same(build: object) -> None:
    model: ir.Model = build()  # type: ignore[operator]

    other, factors = equalized(model)

    a, b = (run(ir.to_proto(m), feed(model))["y"] for m in (model, other))
    assert sqnr(a, b) > 90
    assert all(np.ptp(each) > 0.1 for each in factors.values())


def test_both_sides_of_every_channel_get_the_same_range() -> None:
    other, factors = equalized(chain())
    nodes = {n.name: n for n in other.graph}
    first, middle, last = (array(other, name) for name in ("w1", "w2", "w3"))

    assert list(factors) == ["r", "s"]
    np.testing.assert_allclose(
        np.abs(first).max(axis=(1, 2, 3)),
        np.abs(by_output(nodes["conv2"], middle)).max(axis=(1, 3)).ravel(),
        rtol=1e-2,  # where rounds end
    )
    np.testing.assert_allclose(
        np.abs(middle).max(axis=(1, 2, 3)),
        np.abs(by_output(nodes["conv4"], last)).max(axis=(1, 3)).ravel(),
        rtol=1e-2,
    )


def test_two_readers_count_by_the_larger_weight() -> None:
    other, _ = equalized(normalised())
    read = np.maximum(*(np.abs(array(other, name)).max(axis=1) for name in ("w1", "w2")))

    np.testing.assert_allclose(array(other, "g"), read, rtol=1e-2)


def test_a_channel_that_nothing_makes_or_reads_stays() -> None:
    model = chain()
    silent = array(model, "w1").copy()
    silent[3] = 0
    model.graph.initializers["w1"].const_value = ir.Tensor(silent, name="w1")

    _, factors = equalized(model)

    assert factors["r"][3] <= 1
    assert np.isfinite(factors["r"]).all()


def test_a_channel_that_calibration_saw_nothing_of_is_not_enlarged() -> None:
    model = chain()
    nearly = array(model, "w1").copy()
    nearly[3] /= 1e4
    model.graph.initializers["w1"].const_value = ir.Tensor(nearly, name="w1")

    _, blind = equalized(model)
    _, seeing = equalized(model, silent=3)

    assert blind["r"][3] > 10
    assert seeing["r"][3] == min(1.0, seeing["r"].min())


def test_values_that_others_read_too_are_not_touched() -> None:
    model = normalised()
    model.graph.outputs.append(model.graph.node("layernormalization0").outputs[0])
    plan = place(model, OPENVINO, Wish())

    assert rescaled(tuple(model.graph), plan) == ()
    assert equalizing_factors(model.graph, plan, ("n",), {}) == {}
