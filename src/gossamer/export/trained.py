"""A module that was trained with fake quantization, as a float graph that carries its ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer import carried
from gossamer.export.to_graph import to_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from torch import nn

    from gossamer.quant import QParams
    from gossamer.source import ModuleExample


def trained_graph(
    module: nn.Module, example: ModuleExample, ranges: Mapping[str, QParams]
) -> ir.Model:
    """The graph of `module`; `simplify` takes up `ranges`, and `quantize-static` writes them.

    Args:
        module: With weights as int8 stores them (`FakeQuantization.rounded`), in eval mode.
        example: As for `to_graph`.
        ranges: By names in the simplified graph of this module.

    Raises:
        ExportError: It cannot be exported.
    """
    graph = to_graph(module, example)
    if ranges:
        graph.metadata_props[carried.TRAINED] = carried.dump(ranges)
    return graph
