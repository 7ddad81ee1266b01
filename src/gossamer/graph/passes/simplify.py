"""Target-neutral simplification: the same numbers from fewer, canonical nodes."""

from __future__ import annotations

import logging

import onnx_ir as ir
import onnx_ir.passes.common as passes

from gossamer.graph.adopted import take_out
from gossamer.graph.passes.fold_scale import fold_scale
from gossamer.graph.passes.gemm_of_rows import gemm_of_rows
from gossamer.graph.passes.named_outputs import named_outputs
from gossamer.graph.passes.pool_averages import pool_averages

logger = logging.getLogger(__name__)

LARGEST_FOLDED = 1 << 26  # elements; transposed weights of real layers are folded, tables are not


def simplify(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with constants, identities and BatchNorms folded, names unique.

    Constant weights that were transposed, cast or scaled at run time become initializers. Shape
    inference is used where it succeeds and never required. Q/DQ that the model came with are taken
    out, and their numbers kept (`gossamer.graph.adopted`).
    """
    model = take_out(model)
    names = [value.name or "" for value in model.graph.outputs]
    from onnxscript import optimizer
    from onnxscript.rewriter import rewrite
    from onnxscript.rewriter.rules.common import _fuse_batchnorm, _fuse_pad_into_conv

    passes.RemoveInitializersFromInputsPass()(model)
    fed = [(value, value.name) for value in model.graph.inputs]
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    optimizer.optimize_ir(model, input_size_limit=LARGEST_FOLDED, output_size_limit=LARGEST_FOLDED)
    model = rewrite(model, [*_fuse_batchnorm.rules, *_fuse_pad_into_conv.rules])
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.IdentityEliminationPass()(model)
    passes.CommonSubexpressionEliminationPass()(model)
    passes.DeduplicateInitializersPass()(model)
    _remove_unused(model)
    _keep_constants(model.graph)
    passes.NameFixPass()(model)
    model = pool_averages(fold_scale(gemm_of_rows(model)))
    for value, name in fed:
        value.name = name  # the optimizer renames an input that is an output
    model = named_outputs(model, names)
    _remove_unused(model)
    return model


def _keep_constants(graph: ir.Graph) -> None:
    """Register, in place, outputs that are constants and gave way to one of their name.

    What takes a BatchNorm in gets a weight of the name of the one before.
    """
    for value in graph.outputs:
        is_made = value.producer() is not None or value.is_graph_input()
        if is_made or graph.initializers.get(value.name or "") is value:
            continue
        if (other := graph.initializers.pop(value.name or "", None)) is not None:
            other.name = f"{other.name}_folded"
            graph.register_initializer(other)
        graph.register_initializer(value)


def _remove_unused(model: ir.Model) -> None:
    """Remove, in place, what no output needs; what only removed branches read is not needed."""
    while True:
        passes.RemoveUnusedNodesPass()(model)
        nodes = {*model.graph.all_nodes()}
        values = [*model.graph.inputs, *model.graph.initializers.values()]
        values += [v for node in nodes for v in node.outputs]
        left = {use.node for value in values for use in value.uses()} - nodes
        if not left:
            return
        for node in left:  # inside an If that is gone: it would count as a reader for ever
            for i in range(len(node.inputs)):
                node.replace_input_with(i, None)
