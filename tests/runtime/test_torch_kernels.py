"""What the target torch-cpu states, against torch itself: the kernels that a profile names."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from gossamer import plugins
from zoo.placed import TORCH, conv_relu_conv, feed, graph, quantized

pytestmark = pytest.mark.torch

CONV = "Conv <pads = [1, 1, 1, 1]>"


def matmul() -> ir.Model:
    return graph(
        "(float[1, 8, 128] x) => (float[1, 8, 128] y) { p = MatMul(x, w)  y = Add(p, b) }",
        w=(128, 128), b=(128,),
    )  # fmt: skip


def gemm() -> ir.Model:
    return graph(
        "(float[2, 128] x) => (float[2, 128] y) { y = Gemm(x, w, b) }", w=(128, 128), b=(128,)
    )


SITES = {
    "Conv": (conv_relu_conv, "onednn::qconv_pointwise", 2),
    "MatMul": (matmul, "onednn::qlinear_pointwise", 1),
    "Gemm": (gemm, "onednn::qlinear_pointwise", 1),
}


def called(model: ir.Model, folder: Path) -> dict[str, int]:
    """How often torch calls each kernel in one run, on one thread."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    path = folder / "model.onnx"
    path.write_bytes(ir.to_proto(model).SerializeToString())
    session = plugins.load("runtimes", "torch-cpu")().open(path, threads=1)
    data = feed(model)
    session.run(data)
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        session.run(data)
    assert torch.get_num_threads() == 1
    return {event.key: int(event.count) for event in profiled.key_averages()}


@pytest.mark.parametrize("op", SITES)
def test_torch_runs_the_int8_kernel_and_what_stands_around_it_inside(
    op: str, tmp_path: Path
) -> None:
    build, kernel, count = SITES[op]
    written, plan = quantized(build(), TORCH)
    assert {d.op for d in plan.quantized} == {op}

    kernels = called(written, tmp_path)

    assert kernels[kernel] == count
    # the Q of the input divides, that of the middle does not; bias and Relu are no kernels either
    assert kernels["aten::div"] == 1
    floats = ("aten::conv2d", "aten::matmul", "aten::addmm", "aten::relu", "aten::add")
    assert not set(kernels) & set(floats)


def test_every_rule_of_torch_is_told_of() -> None:
    assert {op for rule in TORCH.rules for op in rule.ops} == set(SITES)
    assert not TORCH.follows
    assert not TORCH.transparent


def test_a_result_that_two_nodes_read_is_not_stored_in_int8(tmp_path: Path) -> None:
    model = graph(
        f"""(float[1, 16, 8, 8] x) => (float[1, 16, 8, 8] y) {{ a = {CONV} (x, w1)
        r = Relu(a)  b = {CONV} (r, w2)  y = Add(b, r) }}""",
        w1=(16, 16, 3, 3), w2=(16, 16, 3, 3),
    )  # fmt: skip
    written, _ = quantized(model, TORCH)
    kernels = called(written, tmp_path)
    assert kernels["onednn::qconv_pointwise"] == 2
    assert kernels["aten::div"] == 2
