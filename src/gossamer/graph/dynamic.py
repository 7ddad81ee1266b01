"""Dynamically quantized kernels: activation ranges are computed at run time."""

from __future__ import annotations

import onnx_ir as ir

from gossamer.errors import PlanError
from gossamer.graph.match import constant
from gossamer.graph.weights import constant_input, quantize_weight
from gossamer.plan import Plan


def write_dynamic(model: ir.Model, plan: Plan) -> ir.Model:
    """`model` (edited in place) with MatMul sites as DynamicQuantizeLinear + MatMulIntegerToFloat.

    Readers of one value share its DynamicQuantizeLinear. MatMulIntegerToFloat is ONNX Runtime's
    contributed operator: the integer product times (input scale * weight scale).
    """
    graph = model.graph
    nodes = {node.name: node for node in graph}
    ready: dict[ir.Value, tuple[ir.Value, ir.Value, ir.Value]] = {}
    for decision in plan.quantized:
        node = nodes[decision.site]
        weight = graph.initializers.get(decision.weight or "")
        tensor = constant(weight)
        value = node.inputs[0]
        if weight is None or tensor is None or value is None:
            raise PlanError(
                f"a constant {decision.weight!r}",
                "a graph without it",
                "Make the plan for this graph.",
            )
        if value not in ready:
            quantize = ir.node(
                "DynamicQuantizeLinear", [value], num_outputs=3, name=f"{value.name}_dynamic"
            )
            for out, suffix in zip(
                quantize.outputs, ("quantized", "scale", "zero_point"), strict=True
            ):
                out.name = f"{value.name}_{suffix}"
            graph.append(quantize)
            ready[value] = (quantize.outputs[0], quantize.outputs[1], quantize.outputs[2])
        stored, numbers = quantize_weight(tensor.numpy(), plan.weight, decision.weight_axis)
        x, x_scale, x_zero = ready[value]
        operands = [
            x,
            constant_input(graph, f"{weight.name}_quantized", stored),
            x_scale,
            constant_input(graph, f"{weight.name}_scale", numbers.scale),
            x_zero,
            constant_input(graph, f"{weight.name}_zero_point", numbers.zero_point),
        ]
        product = ir.node(
            "MatMulIntegerToFloat", operands, domain="com.microsoft", name=f"{node.name}_int8"
        )
        graph.append(product)
        _take_over(node, product)
        if not weight.uses() and not weight.is_graph_output():
            del graph.initializers[decision.weight or ""]
    model.opset_imports.setdefault("com.microsoft", 1)
    graph.sort()
    return model


def _take_over(old: ir.Node, new: ir.Node) -> None:
    """`new` computes what `old` did, under the same value name."""
    before, after = old.outputs[0], new.outputs[0]
    after.shape, after.type = before.shape, before.type
    graph = old.graph
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    after.name, before.name = before.name, f"{before.name}_float"
    if graph is not None:
        graph.remove(old, safe=True)
