"""Weights and biases of int8 sites as stored integers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gossamer.errors import PlanError
from gossamer.graph.bias import bias, mean_error
from gossamer.graph.layout import PAIR, divided, pair_sums
from gossamer.graph.match import constant
from gossamer.graph.rounder import Rounder
from gossamer.plan import Decision
from gossamer.quant import QParams, QuantSpec, qparams

BIAS_LIMIT = 2.0**30  # of int32; the products that the kernel adds need the rest
BIAS_STEPS = 2.0**23  # as fine as float32
TINY_BIAS = np.float32(1e-30)


def quantize_weight(
    array: NDArray[np.generic], spec: QuantSpec, axis: int | None
) -> tuple[NDArray[np.generic], QParams]:
    """Stored values and numbers of a weight; one scale for each index of `axis`."""
    found = weight_numbers(array, spec, axis)
    return found.quantize(array, spec), found


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What is known of the value that a weight is multiplied with.

    Attributes:
        numbers: How it is stored; needed for a bias in int32.
        factors: What its channels come multiplied by, if by anything.
        weight: Numbers that the weight came with, if it did (`gossamer.graph.adopted`).
        mean: Of each channel before that; None leaves the bias as it is.
    """

    numbers: QParams | None = None
    factors: NDArray[np.float32] | None = None
    mean: NDArray[np.float32] | None = None
    weight: QParams | None = None


def write_weight(
    graph: ir.Graph,
    node: ir.Node,
    decision: Decision,
    spec: QuantSpec,
    data: Data,
    rounder: Rounder,
) -> None:
    """Put the weight (and the int32 bias) of a site behind DequantizeLinear, in place.

    The bias of a site whose data has a mean is corrected, see `gossamer.graph.bias`.

    Args:
        graph: Graph of the site.
        node: The site.
        decision: Its decision, with a weight.
        spec: How weights are stored.
        data: What the weight is multiplied with.
        rounder: How weights are rounded.

    Raises:
        PlanError: The weight or bias is no constant of the graph.
    """
    weight, array = _constant(graph, decision.weight)
    base, mean, x = weight.name or "", data.mean, data.numbers
    if data.factors is not None:
        array, base = divided(node, array, data.factors), f"{base}_divided"
        mean = mean * data.factors if mean is not None else None
    if data.weight is not None:
        spec = replace(spec, symmetric=False)  # -128 stays
    numbers = data.weight or weight_numbers(array, spec, decision.weight_axis)
    if decision.bias is not None and x is not None:
        fitting = _fit_bias(numbers, _constant(graph, decision.bias)[1], x)
        if fitting is not numbers:
            base = f"{base}_{node.name}"
        numbers = fitting
    axis = "" if numbers.axis is None else f"_{numbers.axis}"
    stored = rounder.stored(node, array, numbers, spec, data.factors)
    if mean is not None:
        error = array.astype(np.float32) - numbers.dequantize(stored)
        decision = _correct_bias(graph, node, decision, mean_error(node, error, mean))
    _replace(graph, node, weight, (stored, numbers), f"{base}{axis}")
    if decision.bias is not None and x is not None:
        _write_bias(graph, node, decision.bias, x, numbers)
    if decision.nonzero_bias:
        _add_bias(graph, node, array.shape[0])


def _correct_bias(
    graph: ir.Graph, node: ir.Node, decision: Decision, shift: NDArray[np.float32] | None
) -> Decision:
    """The decision of a site whose bias took up `shift`; unchanged where there is no such bias."""
    reader, index = bias(node)
    old = reader.inputs[index] if reader is not None else None
    tensor = constant(old)
    if reader is None or old is None or tensor is None or shift is None:
        return decision
    array = tensor.numpy()
    if array.size != shift.size or array.shape[-1:] != shift.shape or not shift.any():
        return decision
    content = array + shift.reshape(array.shape)
    fresh = constant_input(graph, f"{old.name}_{node.name}_corrected", content)
    reader.replace_input_with(index, fresh)
    if not old.uses() and not old.is_graph_output():
        del graph.initializers[old.name or ""]
    stored = fresh.name if decision.bias is not None else None
    return replace(decision, bias=stored, nonzero_bias=False)


def weight_numbers(array: NDArray[np.generic], spec: QuantSpec, axis: int | None) -> QParams:
    """Scale and zero point of a weight; one of each for each index of `axis`."""
    each = axis if spec.granularity == "per-channel" else None
    rest = None if each is None else tuple(i for i in range(array.ndim) if i != each)
    low, high = array.min(axis=rest), array.max(axis=rest)
    if spec.accumulator == "s16" and 2 * spec.qmax > PAIR:
        sums = pair_sums(array, axis)
        high = np.maximum(high, sums if each is not None else sums.max())
    return qparams(low, high, spec, each)


def _fit_bias(weight: QParams, bias: NDArray[np.generic], x: QParams) -> QParams:
    """`weight` with scales under which bias / (input scale * weight scale) fits into int32.

    A channel whose weights are all zero has no scale of its own (`qparams` gives it 1), so its
    bias alone decides. Any other scale only grows.
    """
    size = np.abs(bias.astype(np.float64)) / np.float64(x.scale)
    if weight.axis is None:
        size = size.max()
    old = weight.scale.astype(np.float64)
    scale = np.where(old == 1.0, np.maximum(size / BIAS_STEPS, _SMALLEST), old)
    scale = np.where((old == 1.0) & (size == 0), 1.0, np.maximum(scale, size / BIAS_LIMIT))
    if np.array_equal(scale, old):
        return weight
    return replace(weight, scale=scale.astype(np.float32))


_SMALLEST = 1e-30


def _write_bias(graph: ir.Graph, node: ir.Node, name: str, x: QParams, weight: QParams) -> None:
    bias, array = _constant(graph, name)
    scale = (np.float64(x.scale) * weight.scale.astype(np.float64)).astype(np.float32)
    numbers = QParams(
        scale=scale,
        zero_point=np.zeros(scale.shape, np.int32),
        axis=None if scale.ndim == 0 else 0,
    )
    whole = np.rint(array.astype(np.float64) / scale.astype(np.float64))
    stored = np.clip(whole, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    _replace(graph, node, bias, (stored, numbers), f"{bias.name}_{node.name}")


def _add_bias(graph: ir.Graph, node: ir.Node, channels: int) -> None:
    """A bias too small to count: some kernels are wrong without one (TargetSpec.nonzero_bias)."""
    bias = constant_input(graph, f"{node.name}_bias", np.full(channels, TINY_BIAS))
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, bias)


def _replace(
    graph: ir.Graph,
    node: ir.Node,
    value: ir.Value,
    content: tuple[NDArray[np.generic], QParams],
    base: str,
) -> None:
    """Let `node` read `value` from stored integers; `value` goes when nobody reads it any more."""
    stored, numbers = content
    dequantize = ir.node(
        "DequantizeLinear",
        [
            constant_input(graph, f"{base}_quantized", stored),
            constant_input(graph, f"{base}_scale", numbers.scale),
            constant_input(graph, f"{base}_zero_point", numbers.zero_point),
        ],
        attributes={} if numbers.axis is None else {"axis": numbers.axis},
        name=f"{base}_DequantizeLinear_{node.name}",
    )
    out = dequantize.outputs[0]
    out.name, out.shape, out.type = f"{base}_dequantized_{node.name}", value.shape, value.type
    graph.insert_before(node, dequantize)
    for index, operand in enumerate(node.inputs):
        if operand is value:
            node.replace_input_with(index, out)
    if not value.uses() and not value.is_graph_output():
        del graph.initializers[value.name or ""]


def constant_input(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """An initializer with this content; `name` gets a number if it is another one's already."""
    wanted, number = name, 0
    while name in graph.initializers:
        known = graph.initializers[name]
        tensor = constant(known)
        if tensor is not None and _is_same(tensor.numpy(), array):
            return known
        number += 1
        name = f"{wanted}_{number}"
    fresh = ir.Tensor(np.array(array, order="C"), name=name)
    value = ir.Value(
        name=name, const_value=fresh, shape=fresh.shape, type=ir.TensorType(fresh.dtype)
    )
    graph.register_initializer(value)
    return value


def _is_same(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bool(np.array_equal(a, b))


def _constant(graph: ir.Graph, name: str | None) -> tuple[ir.Value, NDArray[np.generic]]:
    value = graph.initializers.get(name or "")
    tensor = constant(value)
    if value is None or tensor is None:
        raise PlanError(
            f"a constant {name!r}",
            "a graph without it",
            "Make the plan for the graph that it is written into.",
        )
    return value, tensor.numpy().astype(np.float32)
