"""Modules as graphs: open axes, names, and the check that finds a graph that lies."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from gossamer.errors import ExportError

torch = pytest.importorskip("torch")
from gossamer.export.to_graph import check_graph, to_graph  # noqa: E402
from gossamer.source import ModuleExample  # noqa: E402

pytestmark = pytest.mark.torch
Pair = namedtuple("Pair", ["first", "second"])


class Tagger(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Sums embeddings; returns whatever `shape` is asked for."""

    def __init__(self, returns: str = "tensor") -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(20, 4)
        self.returns = returns

    def forward(self, ids: Any, mask: Any) -> Any:
        x = self.embed(ids) * mask[..., None]
        if self.returns == "pair":
            return Pair(x, x.sum(1))
        if self.returns == "nested":
            return x, [x.sum(1), None, x.mean(1)], "text"
        return x


def example(longest: int | None = 12) -> ModuleExample:
    ids = torch.arange(16).reshape(2, 8)
    return ModuleExample(
        inputs={"ids": ids, "mask": torch.ones_like(ids)}, sequence=("ids", "mask"), longest=longest
    )


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger().eval()


@pytest.fixture(scope="module")
def graph(tagger: Tagger) -> ir.Model:
    return to_graph(tagger, example())


def test_batch_and_sequence_are_open_and_named(graph: ir.Model) -> None:
    shapes = {str(v.name): str(v.shape) for v in (*graph.graph.inputs, *graph.graph.outputs)}

    assert shapes == {
        "ids": "[batch,sequence]",
        "mask": "[batch,sequence]",
        "output": "[batch,sequence,4]",
    }


def test_the_graph_is_opset_18_with_weights_under_their_paths(graph: ir.Model) -> None:
    assert graph.opset_imports[""] == 18
    assert "embed.weight" in graph.graph.initializers


def test_the_module_is_left_as_it_was(tagger: Tagger, graph: ir.Model) -> None:
    assert graph
    assert not tagger._forward_hooks
    assert isinstance(tagger(**example().inputs), torch.Tensor)


def test_a_true_graph_passes_the_check_on_other_sizes(
    tagger: Tagger, graph: ir.Model, tmp_path: Path
) -> None:
    ir.save(graph, tmp_path / "model.onnx")
    check_graph(tagger, example(), tmp_path / "model.onnx")


def test_a_graph_of_other_weights_fails_the_check(graph: ir.Model, tmp_path: Path) -> None:
    ir.save(graph, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"agrees with the module Tagger .* 'output'"):
        check_graph(Tagger().eval(), example(), tmp_path / "model.onnx")


def test_a_graph_with_a_size_turned_constant_fails_the_check(
    tagger: Tagger, graph: ir.Model, tmp_path: Path
) -> None:
    ir.save(graph, tmp_path / "model.onnx")
    fixed = ir.load(tmp_path / "model.onnx")
    fixed.graph.inputs[0].shape = ir.Shape([2, 8])
    ir.save(fixed, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"that onnxruntime runs with open axes.*constant"):
        check_graph(tagger, example(), tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("returns", "names"),
    [("pair", ["first", "second"]), ("nested", ["output_0", "output_1_0", "output_1_2"])],
)
def test_outputs_are_named_after_their_fields(returns: str, names: list[str]) -> None:
    graph = to_graph(Tagger(returns).eval(), example())

    assert [v.name for v in graph.graph.outputs] == names


def test_nothing_is_printed_or_warned(
    tagger: Tagger, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    to_graph(tagger, example())

    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)
