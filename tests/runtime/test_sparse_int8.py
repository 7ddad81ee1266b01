"""Zeros of a pruned model are zeros of its int8 file."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from gossamer.export.to_graph import to_graph
from gossamer.source import ModuleExample
from gossamer.train.prune.patterns.n_of_m import NOfM
from gossamer.train.prune.schedules.one_shot import OneShot
from gossamer.train.techniques.sparsify import Sparsify
from zoo.nets import batch, net
from zoo.placed import feed, quantized

pytestmark = pytest.mark.torch


def test_zeros_survive_int8() -> None:
    module = net().eval()
    Sparsify(pattern=NOfM(), schedule=OneShot()).attach(module).detach()
    graph = to_graph(module, ModuleExample(inputs={"images": batch(0)[0]}))
    images = feed(graph)
    images["images"] = batch(1, size=1)[0].numpy()

    model, plan = quantized(graph, data=images)

    assert len(plan.quantized) >= 2
    stored = {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.dtype == ir.DataType.INT8
    }
    for path in ("wide", "deep"):  # the small Conv does not pay in int8
        weight = module.get_submodule(path).get_parameter("weight").detach().numpy()
        shapes = (weight.shape, weight.T.shape)
        (int8,) = (array for array in stored.values() if array.shape in shapes)
        weight = weight if weight.shape == int8.shape else weight.T
        assert (weight == 0).mean() >= 14 / 30  # the last two of 30 inputs are half a group
        assert not int8[weight == 0].any()
        assert int8.any()
