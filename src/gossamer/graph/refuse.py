"""Why a node stays in float: what a rule asks of its weight, its size and its surroundings."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from gossamer.graph.match import activations, constant
from gossamer.plan import Reason
from gossamer.target import OpRule, TargetSpec

Refusal = tuple[Reason, str]

LOG_CHAIN = frozenset(
    {"Pow", "Mul", "Add", "Sub", "Sqrt", "Abs", "Max", "Clip", "ReduceSum", "Div", "Concat"}
    | {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Identity", "MatMul", "Conv"}
)


def refusal(node: ir.Node, rule: OpRule, *, any_size: bool = False) -> Refusal | None:
    """Why `rule` does not cover `node`, at `any_size` even where that does not pay; else None."""
    if not rule.has_weight:
        return _weightless(node)
    tensor = constant(node.inputs[rule.weight_operand])
    if tensor is None:
        where = f"operand {rule.weight_operand} of {node.op_type}"
        return Reason.NO_WEIGHT, f"{where} is computed at run time"
    if not activations(node):
        return Reason.NO_RULE, "all operands are constants"
    if tensor.dtype != ir.DataType.FLOAT:
        return Reason.NO_RULE, f"weight of type {tensor.dtype.name}"
    if feeds_log(node):
        return Reason.EXCLUDED, "a Log reads what it makes, so its smallest values count"
    shape = tuple(int(d) for d in tensor.shape.numpy())
    return _odd(node, shape) or (None if any_size else _unprofitable(node, rule, shape))


def weight_axis(node: ir.Node, rank: int) -> int | None:
    """The axis of output channels in the weight; None where groups share it."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        groups = node.attributes.get_int("group", 1)
        return 1 if groups == 1 else None
    if node.op_type == "Gemm" and _flag(node, "transB"):
        return 0
    return rank - 1


def feeds_log(node: ir.Node) -> bool:
    """Whether a Log reads the values of `node` after nothing but sums, products and powers.

    That is a spectrogram: a loudness in dB. The quiet bands, which int8 rounds to 0, become the
    largest numbers behind the Log.
    """
    waiting, seen = list(node.outputs), set(node.outputs)
    while waiting:
        for use in waiting.pop().uses():
            if use.node.op_type == "Log":
                return True
            if use.node.op_type in LOG_CHAIN:
                fresh = [v for v in use.node.outputs if v not in seen]
                seen.update(fresh)
                waiting += fresh
    return False


def read_by_bodies(nodes: list[ir.Node], target: TargetSpec) -> dict[str, Refusal]:
    """Nodes whose int8 values would reach an If, Loop or Scan through nodes that move numbers.

    ONNX Runtime 1.31 moves the DequantizeLinear on to where the body reads, and ends the process.
    """
    found: dict[str, Refusal] = {}
    for node in () if target.hoists else nodes:
        if all(use.node.graph is node.graph for v in node.outputs for use in v.uses()):
            continue
        maker: ir.Node | None = node
        while maker is not None and maker.op_type in target.transparent:
            source = maker.inputs[0]
            behind, maker = maker, source.producer() if source is not None else None
            for each in (behind, maker):
                if each is not None:
                    found[each.name or ""] = (Reason.NO_RULE, "a body reads it, moved")
    return found


def _weightless(node: ir.Node) -> Refusal | None:
    if node.op_type == "Add" and len(activations(node)) < 2:
        return Reason.NO_RULE, "one operand is a constant or both are one value"
    return None


def _odd(node: ir.Node, shape: tuple[int, ...]) -> Refusal | None:
    """Weights and attributes that int8 kernels do not know."""
    if len(shape) < 2:
        return Reason.NO_RULE, "the constant operand is no matrix"
    if node.op_type in {"MatMul", "Gemm"} and len(shape) > 2:
        return Reason.NO_RULE, "the constant operand is a stack of matrices"
    if node.op_type == "Gemm":
        if _flag(node, "transA"):
            return Reason.NO_RULE, "transA transposes the activation"
        if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return Reason.NO_RULE, "alpha and beta scale the product and the bias"
    return None


def _unprofitable(node: ir.Node, rule: OpRule, shape: tuple[int, ...]) -> Refusal | None:
    reduction, inputs, outputs, depthwise = _geometry(node, shape)
    if depthwise and rule.depthwise_after is not None:
        producer = node.inputs[0].producer() if node.inputs[0] is not None else None
        made_by = producer.op_type if producer is not None else "an input"
        if made_by not in rule.depthwise_after:
            allowed = " or ".join(rule.depthwise_after) or "nothing"
            return Reason.UNPROFITABLE, f"depthwise behind {made_by}; it pays behind {allowed}"
    checks = [(outputs, rule.min_outputs, "output channels")]
    if rule.min_rows and (rows := _rows(node)) is not None:
        checks.append((rows, rule.min_rows, "rows"))
    if not depthwise:
        checks += [
            (reduction, rule.min_reduction, "products an output"),
            (inputs, rule.min_inputs, "input channels"),
            (prod(shape), rule.min_weights, "weights"),
        ]
    for size, smallest, unit in checks:
        if size < smallest:
            return Reason.UNPROFITABLE, f"{size} {unit}; from {smallest} on it pays"
    return None


def _rows(node: ir.Node) -> int | None:
    """Rows of the activation in a product of matrices; None where they are open or it is none."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if node.op_type not in {"MatMul", "Gemm"} or shape is None:
        return None
    rows = [d for d in shape[:-1] if isinstance(d, int)]
    return prod(rows) if len(rows) == len(shape) - 1 else None


def _flag(node: ir.Node, name: str) -> bool:
    value = node.attributes.get_int(name, 0)
    return value != 0


def _geometry(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, int, int, bool]:
    """Products per output element, input and output channels, whether it is depthwise."""
    groups = node.attributes.get_int("group", 1)
    if node.op_type == "Conv":
        return prod(shape[1:]), shape[1] * groups, shape[0], groups > 1 and shape[1] == 1
    if node.op_type == "ConvTranspose":
        return shape[0] // groups * prod(shape[2:]), shape[0], shape[1] * groups, False
    if node.op_type == "Gemm" and _flag(node, "transB"):
        return shape[1], shape[1], shape[0], False
    return shape[-2], shape[-2], shape[-1], False
