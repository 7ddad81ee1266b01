from __future__ import annotations

import numpy as np
import onnx_ir as ir

from gossamer.graph.passes.simplify import simplify
from zoo.placed import agreement, conv_relu_conv, graph


def _copy(model: ir.Model) -> ir.Model:
    return ir.from_proto(ir.to_proto(model))


def test_a_batch_norm_goes_into_the_conv_in_front_of_it() -> None:
    model = graph(
        """(float[1, 4, 8, 8] x) => (float[1, 4, 6, 6] y) { a = Conv(x, w, b)
        y = BatchNormalization(a, s, o, m, v) }""",
        w=(4, 4, 3, 3), b=(4,), s=(4,), o=(4,), m=(4,), v=np.full(4, 2, np.float32),
    )  # fmt: skip
    simple = simplify(_copy(model))
    assert [n.op_type for n in simple.graph] == ["Conv"]
    assert agreement(model, simple) > 100


def test_a_weight_transposed_at_run_time_becomes_a_constant() -> None:
    model = graph(
        "(float[1, 8] x) => (float[1, 8] y) { t = Transpose(w)  i = Identity(x)"
        "  y = MatMul(i, t) }",
        w=(8, 8),
    )  # fmt: skip
    simple = simplify(_copy(model))
    assert [n.op_type for n in simple.graph] == ["MatMul"]
    assert agreement(model, simple) > 100


def test_every_node_gets_a_name_of_its_own() -> None:
    model = conv_relu_conv()
    for node in model.graph:
        node.name = "same"
    assert len({n.name for n in simplify(model).graph}) == 3
