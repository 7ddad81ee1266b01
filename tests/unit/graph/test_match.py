from __future__ import annotations

import numpy as np

from gossamer.graph.match import origin, sole_consumer, tail
from zoo.placed import graph, residual


def _order(model: object) -> dict[object, int]:
    return {n: i for i, n in enumerate(model.graph)}  # type: ignore[attr-defined]


def test_the_longest_tail_is_found() -> None:
    model = residual()
    conv = model.graph[2]
    found = tail(conv, ("Relu", "Add[residual] Relu?"), _order(model))  # type: ignore[arg-type]
    assert [n.name for n in found.nodes] == ["add3", "relu4"]
    assert [v.name for v in found.residuals] == ["r"]
    assert found.output.name == "t"


def test_a_tail_ends_where_a_value_has_two_readers() -> None:
    model = residual()
    relu = tail(model.graph[0], ("Relu Conv", "Relu"), _order(model))  # type: ignore[arg-type]
    assert [n.name for n in relu.nodes] == ["relu1"]


def test_a_reader_inside_a_branch_is_no_sole_consumer() -> None:
    model = graph(
        """(float[4] x, bool c) => (float[4] y) { a = Exp(x)
        y = If <then_branch = t () => (float[4] u) { u = Relu(a) },
                else_branch = e () => (float[4] v) { v = Neg(x) }> (c) }"""
    )
    assert sole_consumer(model.graph[0].outputs[0]) is None


def test_the_origin_of_a_value_is_in_front_of_what_moves_it() -> None:
    model = graph(
        """(float[1, 4] x) => (float[1, 6] z) { y = Reshape(x, shape)  p = Pad(y, pads)
        z = Relu(p) }""",
        shape=np.array([1, 4]), pads=np.array([0, 1, 0, 1]),
    )  # fmt: skip
    value, nodes = origin(model.graph[1].outputs[0], ("Reshape", "Pad"))
    assert (value.name, [n.name for n in nodes]) == ("x", ["pad1", "reshape0"])


def test_a_pad_with_other_numbers_than_zero_is_an_origin() -> None:
    model = graph(
        "(float[1, 4] x) => (float[1, 6] z) { p = Pad(x, pads, one)  z = Relu(p) }",
        pads=np.array([0, 1, 0, 1]), one=np.array(1, np.float32),
    )  # fmt: skip
    assert origin(model.graph[0].outputs[0], ("Pad",))[0].name == "p"
