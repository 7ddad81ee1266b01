"""A Relu goes where everything behind it makes 0 of negative numbers anyway, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from gossamer.graph.passes.repeated_relu import repeated_relu
from zoo.placed import OPENVINO, ORT, feed, graph, quantized, run

HEAD = "(float[1, 4, 8, 8] x) => (float[1, {channels}, {size}, {size}] y)"


def stored(nodes: str, zero: np.generic, channels: int = 8, size: int = 8) -> ir.Model:
    """Two branches, made from `x`, of which `nodes` make `c`; `y` is `c` through its Q/DQ."""
    head = HEAD.format(channels=channels, size=size)
    return graph(
        f"{head} {{ a = Conv (x, w1)  b = Conv (x, w2)  {nodes}"
        "  q = QuantizeLinear(c, s, z)  y = DequantizeLinear(q, s, z) }",
        w1=(4, 4, 1, 1), w2=(4, 4, 1, 1), s=np.array(0.01, np.float32), z=np.array(zero),
    )  # fmt: skip


POOL = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>"
GONE = {
    "at once": ("c = Relu(a)", np.uint8(0), 4, 8),
    "at once, s8": ("c = Relu(a)", np.int8(-128), 4, 8),
    "through Concat": ("r = Relu(a)  t = Relu(b)  c = Concat <axis = 1> (r, t)", np.uint8(0), 8, 8),
    "through MaxPool": (f"r = Relu(a)  c = {POOL} (r)", np.uint8(0), 4, 4),
}
KEPT = {
    "two readers": ("r = Relu(a)  c = Concat <axis = 1> (r, r)", np.uint8(0), 8, 8),
    "a zero point above the least": ("c = Relu(a)", np.uint8(3), 4, 8),
    "s8 around 0": ("c = Relu(a)", np.int8(0), 4, 8),
    "a sum": ("r = Relu(a)  c = Add(r, b)", np.uint8(0), 4, 8),
    "another reader": ("r = Relu(a)  n = Neg(r)  c = Concat <axis = 1> (r, n)", np.uint8(0), 8, 8),
}


@pytest.mark.parametrize("case", GONE.values(), ids=GONE)
def test_it_goes(case) -> None:
    model = stored(*case)
    wanted = run(ir.to_proto(model), feed(model), optimize=False)["y"]

    repeated_relu(model)

    assert "Relu" not in [n.op_type for n in model.graph]
    assert np.array_equal(run(ir.to_proto(model), feed(model), optimize=False)["y"], wanted)


@pytest.mark.parametrize("case", KEPT.values(), ids=KEPT)
def test_it_stays(case) -> None:
    model = stored(*case)
    assert [n.op_type for n in repeated_relu(model).graph].count("Relu") == 1


def test_a_graph_output_keeps_its_relu() -> None:
    model = stored("c = Relu(a)", np.uint8(0), 4)
    value = next(v for n in model.graph for v in n.outputs if v.name == "c")
    model.graph.outputs.append(value)
    assert "Relu" in [n.op_type for n in repeated_relu(model).graph]


@pytest.mark.parametrize("target", [ORT, OPENVINO], ids=lambda t: t.name)
def test_the_branches_of_a_fire_module_have_none(target) -> None:
    model = graph(
        """(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) { s = Conv(x, w0)  r = Relu(s)
        a = Conv(r, w1)  p = Relu(a)  b = Conv <pads = [1, 1, 1, 1]> (r, w2)  q = Relu(b)
        c = Concat <axis = 1> (p, q)  y = Conv(c, w3) }""",
        w0=(16, 16, 1, 1), w1=(16, 16, 1, 1), w2=(16, 16, 3, 3), w3=(16, 32, 1, 1),
    )  # fmt: skip
    written, _ = quantized(model, target)
    assert [n.op_type for n in repeated_relu(written).graph].count("Relu") == 0
