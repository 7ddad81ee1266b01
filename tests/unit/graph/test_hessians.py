"""Means of x xᵀ, told by what they must give: the mean square of a product with any weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from gossamer.errors import CalibrationError
from gossamer.graph import hessians
from gossamer.graph.layout import by_output
from zoo.placed import Feed, graph, run

CONVOLUTIONS = {
    "plain": ("[1, 8, 8, 8]", "", (16, 8, 3, 3)),
    "strides": ("[1, 8, 9, 7]", "<strides = [2, 1], pads = [1, 0, 2, 1]>", (16, 8, 3, 2)),
    "dilated": ("[1, 8, 11, 11]", "<dilations = [2, 3], pads = [1, 1, 1, 1]>", (16, 8, 3, 3)),
    "grouped": ("[1, 8, 8, 8]", "<group = 2, pads = [1, 1, 1, 1]>", (16, 4, 3, 3)),
    "depthwise": ("[1, 8, 8, 8]", "<group = 8>", (8, 1, 3, 3)),
    "one axis": ("[1, 8, 40]", "<strides = [2]>", (16, 8, 5)),
    "same, upper": ("[1, 8, 8, 8]", '<auto_pad = "SAME_UPPER", strides = [2, 2]>', (4, 8, 4, 3)),
    "same, lower": ("[1, 8, 8, 8]", '<auto_pad = "SAME_LOWER", strides = [3, 1]>', (4, 8, 3, 2)),
    "several": ("[3, 8, 4, 4]", "", (16, 8, 2, 2)),
}  # fmt: skip
MATRICES = {
    "matmul": ("[1, 8, 24]", "MatMul", (24, 12)),
    "gemm": ("[5, 24]", "Gemm", (24, 12)),
    "turned gemm": ("[5, 24]", "Gemm <transB = 1>", (12, 24)),
}
PRODUCTS = {name: (x, f"Conv {a}", w) for name, (x, a, w) in CONVOLUTIONS.items()} | MATRICES


def product(shape: str, op: str, weight: tuple[int, ...]) -> ir.Model:
    """A product of what another node makes."""
    axes = ", ".join(f"d{i}" for i in range(len(shape.split(","))))
    return graph(
        f"(float{shape} x) => (float[{axes}] y) {{ t = Tanh(x)  y = {op} (t, w) }}", w=weight
    )


def samples(model: ir.Model, count: int) -> list[Feed]:
    random = np.random.default_rng(1)
    shape = [int(d) for d in model.graph.inputs[0].shape or ()]
    return [{"x": random.normal(1, 1, shape).astype(np.float32)} for _ in range(count)]


def found(model: ir.Model, site: str, feeds: list[Feed]) -> NDArray[np.float32]:
    with hessians.opened(model, [site], lambda: iter(feeds)) as data:
        got = data.of(site)
    assert got is not None
    return got


def noise(model: ir.Model, data: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean square of each output channel, as the means tell."""
    node = next(n for n in model.graph if n.op_type != "Tanh")
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    laid = by_output(node, weight.numpy().astype(np.float64))
    rows = laid.reshape(*laid.shape[:2], -1)
    got: NDArray[np.float64] = np.einsum("goi,gij,goj->go", rows, data, rows).ravel()
    return got


@pytest.mark.parametrize("name", PRODUCTS)
def test_they_tell_the_mean_square_of_every_output(name: str) -> None:
    model = product(*PRODUCTS[name])
    feeds = samples(model, 3)
    proto = ir.to_proto(model)
    axis = 1 if name in CONVOLUTIONS else -1

    site = next(n.name or "" for n in model.graph if n.op_type != "Tanh")

    got = noise(model, found(model, site, feeds))

    outputs = [np.moveaxis(run(proto, feed)["y"].astype(np.float64), axis, 0) for feed in feeds]
    together = np.concatenate([y.reshape(len(y), -1) for y in outputs], axis=1)
    wanted = np.square(together).mean(axis=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)  # sums of float32


def test_of_large_values_some_positions_tell_nearly_the_same() -> None:
    model = product("[1, 4, 64, 64]", "Conv", (8, 4, 3, 3))
    feeds = samples(model, 24)
    proto = ir.to_proto(model)

    got = noise(model, found(model, "conv1", feeds))

    wanted = np.mean([np.square(run(proto, f)["y"]).mean(axis=(0, 2, 3)) for f in feeds], axis=0)
    np.testing.assert_allclose(got, wanted, rtol=0.1)  # 1,536 of 92,256 positions, 2 % apart


def two_products() -> ir.Model:
    return graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 4, 4] y) {
        a = Conv (x, w1)  b = Conv (x, w2)  c = Add(a, b)  y = Conv (c, w3) }""",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3), w3=(16, 16, 3, 3),
    )  # fmt: skip


@pytest.mark.parametrize(("limit", "passes"), [(hessians.LIMIT, 1), (1, 2)])
def test_sites_share_a_pass_where_there_is_room_and_one_value_is_multiplied_once(
    monkeypatch: pytest.MonkeyPatch, limit: int, passes: int
) -> None:
    monkeypatch.setattr(hessians, "LIMIT", limit)
    model, begun = two_products(), []

    def feeds() -> Iterator[Feed]:
        begun.append(1)
        return iter(samples(model, 2))

    with hessians.opened(model, ["conv0", "conv1", "conv3"], feeds) as data:
        model.graph.remove(next(n for n in model.graph if n.name == "conv3"), safe=False)
        got = [data.of(site) for site in ("conv0", "conv1", "conv3")]

    assert len(begun) == passes
    assert got[0] is got[1]
    assert got[2] is not None
    assert got[2].shape == (1, 144, 144)


def test_a_site_that_is_no_known_product_has_none() -> None:
    model = graph(
        "(float[1, 4, 8, 8] x) => (float[1, 4, 9, 9] y) { y = ConvTranspose (x, w) }",
        w=(4, 4, 2, 2),
    )
    with hessians.opened(model, ["convtranspose0"], lambda: iter([])) as data:
        assert data.of("convtranspose0") is None


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ([], "at least one calibration sample"),
        ([{"x": np.full((1, 8, 24), np.nan, np.float32)}], "NaN or Inf"),
        ([{"x": np.zeros((1, 8, 23), np.float32)}], "a model that runs"),
    ],
)
def test_samples_that_do_not_do_are_refused(feeds: list[Feed], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        found(product(*MATRICES["matmul"]), "matmul1", feeds)
