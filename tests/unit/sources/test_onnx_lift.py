"""Old and new opsets, moved to one that the passes and the runtime know, with equal outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from gossamer.errors import SourceError
from gossamer.export.agree import outputs_on_ort
from gossamer.source import FloatModel
from gossamer.sources._lift import agreement


def opset_of(model: FloatModel) -> int:
    return int(onnx.load(model.path).opset_import[0].version)


def said(model: FloatModel) -> str:
    return dict(model.description)["opset"]


@pytest.mark.parametrize(
    ("opset", "graph"),
    [
        (7, 'g (float[1,3,4,4] x) => (float[] y) {'
            ' y = Upsample<mode="nearest", scales=[1.0,1.0,2.0,2.0]>(x) }'),
        (8, "g (float[N,3,8,8] x, float[3] s) => (float[N,3,8,8] y) {"
            " y = BatchNormalization(x, s, s, s, s) }"),
        (9, "g (float[N,3,4] x) => (float[N,3,4] y) { y = Softmax<axis=1>(x) }"),
        (10, "g (float[1,3,5,4] x) => (float[] y) <float[4] s = {1, 1, 1.5, 2.5}> {"
             ' y = Resize<mode="linear">(x, s) }'),
        (11, "g (float[N,3,8] x) => (float[] y) { a = ReduceSum<axes=[1]>(x)"
             " b = Squeeze<axes=[1]>(a) y = Unsqueeze<axes=[0]>(b) }"),
        (12, "g (float[N,8] x) => (float[] y) { a, b = Split<axis=1>(x) y = Mul(a, b) }"),
        (13, "g (bool c, float[N,3] x) => (float[] y) { y = If(c)<"
             "then_branch = p () => (float[] a) { a = ReduceMax<axes=[1]>(x) },"
             "else_branch = q () => (float[] b) { b = ReduceMin<axes=[1]>(x) }> }"),
        (17, "g (float[N,3,8,8] x) => (float[] y) <int64[4] t = {1, 3, 6, 6}> {"
             " y = Resize(x, , , t) }"),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)  # fmt: skip
def test_opsets_below_18_are_lifted_with_equal_outputs(
    write, opened, opset: int, graph: str
) -> None:
    model = opened(write(graph, opset=opset))

    assert opset_of(model) == 18
    assert said(model) == f"{opset}, moved to 18 (outputs equal to the bit)"


@pytest.mark.parametrize("opset", [7, 9, 10])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_upsampling_keeps_the_positions_of_its_samples(
    write, opened, opset: int, mode: str
) -> None:
    scales = "<float[4] s = {1, 1, 2.7, 1.3}>"
    node = f'{"Resize" if opset == 10 else "Upsample"}<mode="{mode}">(x, s)'
    if opset == 7:
        scales, node = "", f'Upsample<mode="{mode}", scales=[1.0, 1.0, 2.7, 1.3]>(x)'
    graph = f"g (float[1,3,5,4] x) => (float[] y) {scales} {{ y = {node} }}"

    assert "equal to the bit" in said(opened(write(graph, opset=opset)))


@pytest.mark.parametrize("opset", range(18, 27))
def test_opsets_from_18_on_that_the_runtime_reads_are_kept(write, opened, opset: int) -> None:
    model = opened(write("g (float[N] x) => (float[N] y) { y = Relu(x) }", opset=opset))

    assert opset_of(model) == opset


def test_an_opset_newer_than_the_runtime_is_lowered_with_equal_outputs(write, opened) -> None:
    newest = onnx.defs.onnx_opset_version()
    model = opened(write("g (float[N] x) => (float[N] y) { y = Relu(x) }", opset=newest))

    assert outputs_on_ort(model.path, [{"x": np.ones(2, np.float32)}])
    assert "not compared" not in said(model)


def test_functions_of_the_model_are_lifted_with_it(write, opened) -> None:
    path = write(
        "g (float[N,3] x) => (float[] y) { y = own.f(x) }"
        '<opset_import: ["": 13], domain: "own"> f (a) => (b) { b = ReduceMax<axes=[1]>(a) }',
        opset=13,
        imports=', "own": 1',
    )

    assert "equal to the bit" in said(opened(path))


def test_the_alias_of_the_default_domain_is_understood(write, opened) -> None:
    path = write("g (float[N,3] x) => (float[N,3] y) { y = ai.onnx.Softmax<axis=1>(x) }", opset=9)
    proto = onnx.load(path)
    proto.opset_import[0].domain = "ai.onnx"
    onnx.save(proto, path)

    assert "9, moved to 18" in said(opened(path))


def test_runtime_domains_are_lifted_past(write, opened) -> None:
    path = write(
        "g (float[N,3] x) => (float[] y) { a = com.microsoft.Gelu(x) y = ReduceSum<axes=[1]>(a) }",
        opset=11,
        imports=', "com.microsoft": 1',
    )

    assert "equal to the bit" in said(opened(path))


def test_a_model_that_nothing_here_runs_is_lifted_and_said_to_be_uncompared(write, opened) -> None:
    path = write(
        "g (float[N,3] x) => (float[] y) { a = my.own.Thing(x) y = ReduceSum<axes=[1]>(a) }",
        opset=11,
        imports=', "my.own": 1',
    )

    assert "outputs not compared: no runtime here runs the original" in said(opened(path))


def test_a_model_that_fits_no_made_up_input_is_said_to_be_uncompared(write, opened) -> None:
    path = write("g (float[A, B] x, int64[K] s) => (float[] y) { y = Reshape(x, s) }", opset=9)

    assert "the original runs on no synthesised input" in said(opened(path))


def test_external_weights_are_lifted_without_being_serialized(write_external, opened) -> None:
    model = opened(write_external(opset=11))

    assert said(model) == "11, moved to 18 (outputs equal to the bit)"
    assert (model.path.parent / "model.onnx.data").stat().st_size == 64 * 32 * 4


def test_a_lift_without_a_way_is_an_error_that_names_it(write, opened) -> None:
    path = write("g (float[N,3] x) => (float[N,3] y) { y = Gone(x) }", opset=11)
    with pytest.raises(SourceError, match=r"from opset 11 to 18; received .*Gone"):
        opened(path)


def test_a_lift_that_changes_the_outputs_is_refused(write) -> None:
    before = write("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }", name="before")
    after = write("g (float[N,3] x) => (float[N,3] y) { y = Elu(x) }", name="after")
    with pytest.raises(SourceError, match=r"the same in opset 18.*a difference of .* 'y'"):
        agreement(before, after, 18)


def test_a_lifted_graph_that_does_not_load_is_refused(write) -> None:
    before = write("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }", name="before")
    after = write("g (float[N,3] x) => (float[N,3] y) { y = Gone(x) }", name="after")
    with pytest.raises(SourceError, match=r"the same in opset 18.*Gone"):
        agreement(before, after, 18)
