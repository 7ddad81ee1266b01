"""The step `quantize-weights`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx_ir as ir

from gossamer.errors import RecipeError, TargetError
from gossamer.graph import groups, lookup, select
from gossamer.graph.awq import scales
from gossamer.graph.groups import Groups, Stored
from gossamer.graph.match import constant
from gossamer.graph.refuse import Refusal, refusal
from gossamer.graph.rescale import axis, channels, fold, makers
from gossamer.graph.roundings.nearest import Nearest
from gossamer.graph.segments import Segments
from gossamer.graph.spill import Spill
from gossamer.plan import Decision, Plan, Reason
from gossamer.quant import QuantSpec
from gossamer.step import GraphContext, GraphStep, Rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gossamer.graph.groups import Constants
    from gossamer.quant import Grid
    from gossamer.target import OpRule

SIZES = (16, 32, 64, 128, 256)
BLOCKED_OPSET = 21  # of DequantizeLinear with groups
LOOKUP = "Gather"
AT_ONCE = 1 << 22  # weights that are rounded at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeWeights(GraphStep):
    """Weights of few bits in groups, activations in float: for models that wait for their weights.

    Of language models that make one token after another, say. Weights whose rounding looks at data
    are rounded in data order, each with the data that the ones before it leave (`segments`); those
    that several values are multiplied with go to the nearest. Embeddings, and other large tables
    that rows are looked up in, get 8 bits and one scale for each row (`gossamer.graph.lookup`).

    Attributes:
        bits: Of a stored weight.
        size: Inputs of one output that share a scale and a zero point.
        symmetric: Whether all zero points are the middle, and so not stored.
        rounding: How weights become whole numbers.
        activation_aware: Whether inputs with much power get finer steps where that costs nothing
            when the model runs (`gossamer.graph.awq`).
        standard: Whether weights stand behind the standard's DequantizeLinear (opset 21) instead of
            inside MatMulNBits, which runtimes load faster.
        exclude: Nodes that stay in float, as `gossamer.graph.select` finds them.
    """

    bits: Literal[4, 8] = 4
    size: int = 32
    symmetric: bool = False
    rounding: Rounding = field(default_factory=Nearest)
    activation_aware: bool = False
    standard: bool = False
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise RecipeError(
                f"a group size among {', '.join(map(str, SIZES))}",
                str(self.size),
                "Smaller groups are more exact, larger ones make smaller files.",
            )

    def apply(self, model: ir.Model, context: GraphContext) -> ir.Model:
        """The model with stored weights in front of, or inside, its products.

        Raises:
            TargetError: The target has no kernels for such weights.
            RecipeError: A selector of `exclude` matches nothing.
            CalibrationError: The model does not run on the calibration samples.
        """
        able = context.target.weight_only
        if able is None:
            raise TargetError(
                "a target with kernels for weights in groups",
                context.target.name,
                "Use quantize-static or quantize-dynamic.",
            )
        plan = self._plan(model.graph, able, context)
        context.record(plan)
        if self.standard:
            model = _raised(model)
        writer = _Writer(self, model, Spill(model, context.folder))
        context.progress.stage("quantize weights", len(plan.quantized))
        for node in _sites(model.graph, plan):
            if node.op_type == LOOKUP:
                writer.write_table(node)
                context.progress.advance()
        sites = _by_value(model.graph, plan)
        with contextlib.ExitStack() as scope:
            segments = None
            if sites and (self.rounding.needs_hessian or self.activation_aware):
                segments = scope.enter_context(Segments(model, context.calibration.feeds()))
            for nodes in sites:
                value = nodes[0].inputs[0]  # another one where a site before it made it
                assert value is not None  # they are sites
                hessian = segments.hessian(value) if segments is not None else None
                if segments is not None and hessian is not None and self.activation_aware:
                    hessian = writer.rescale(value, nodes, segments, hessian)
                for node in nodes:
                    writer.write(node, hessian)
                    context.progress.advance()
        return model

    def _plan(self, graph: ir.Graph, able: OpRule, context: GraphContext) -> Plan:
        excluded = select.kept_float(graph, self.exclude, ())
        spec = QuantSpec(
            dtype="u8", granularity="per-group", symmetric=self.symmetric, bits=self.bits
        )
        decisions = []
        for node in graph:
            verdict = self._verdict(node, able)
            if verdict is None:
                continue
            reason, detail = excluded.get(node.name or "") or verdict
            site = Decision(site=node.name or "", op=node.op_type, reason=reason, detail=detail)
            if site.is_quantized:
                data, weight = node.inputs[:2] if node.op_type != LOOKUP else node.inputs[1::-1]
                assert data is not None
                assert weight is not None  # both operators need both
                site = replace(site, data=data.name, weight=weight.name)
            decisions.append(site)
        return Plan(
            target=context.target.name,
            cpu=context.cpu,
            activation=context.target.activation,
            weight=spec,
            decisions=tuple(decisions),
        )

    def _verdict(self, node: ir.Node, able: OpRule) -> Refusal | None:
        """What happens to a node that nobody excludes; None where there is nothing to decide."""
        if (table := lookup.table(node)) is not None:
            is_large = node.graph is not None and lookup.is_large(table, node.graph)
            few = f"{table.nbytes:,} bytes, less than 1/20 of all weights"
            return (Reason.QUANTIZED, lookup.DETAIL) if is_large else (Reason.UNPROFITABLE, few)
        if node.op_type not in able.ops or node.domain:
            return None
        if (refused := refusal(node, able)) is not None:
            return refused
        if (inputs := groups.shape_of(node)[1]) < self.size:
            return Reason.UNPROFITABLE, f"{inputs} inputs, fewer than a group of {self.size}"
        return Reason.QUANTIZED, able.evidence


class _Writer:
    """Rounds and stores weights, each once."""

    def __init__(self, step: QuantizeWeights, model: ir.Model, keep: groups.Keep) -> None:
        self._graph = model.graph
        self._groups = Groups(bits=step.bits, size=step.size, symmetric=step.symmetric)
        self._rounding = step.rounding
        self._keep = keep
        self._pack, self._read = (
            (groups.pack_blocked, groups.read_blocked)
            if step.standard
            else (groups.pack_nbits, groups.multiply_nbits)
        )
        self._known: dict[str, Constants] = {}

    def rescale(
        self,
        value: ir.Value,
        nodes: list[ir.Node],
        segments: Segments,
        hessian: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """The Hessian of a value, whose channels come in the best size if `nodes` alone read it."""
        parts = makers(value, frozenset())
        weights = [node.inputs[1] for node in nodes]
        is_alone = {use.node for use in value.uses()} == set(nodes) and not value.is_graph_output()
        if not (is_alone and parts and all(w is not None and len(w.uses()) == 1 for w in weights)):
            return hessian
        laid = [_laid(node) for node in nodes]
        if channels(parts) != len(hessian) or axis(parts) != -1:
            return hessian
        found = scales(laid, self._groups, hessian)
        if found is None:
            return hessian
        factors = np.reciprocal(found)
        fold(self._graph, parts, factors)
        segments.scale(value, factors)
        for node, array, weight in zip(nodes, laid, weights, strict=True):
            if weight is not None:
                larger = array * found
                content = larger if node.attributes.get_int("transB", 0) else larger.T
                weight.const_value = ir.Tensor(np.ascontiguousarray(content), name=weight.name)
        return hessian / np.outer(found, found)

    def write(self, node: ir.Node, hessian: NDArray[np.float32] | None) -> None:
        """Let `node` multiply with stored weights; the float ones go once nobody reads them."""
        weight = node.inputs[1]
        assert weight is not None  # it is a site
        is_transposed = bool(node.attributes.get_int("transB", 0))
        name = f"{weight.name}_t" if is_transposed else weight.name or ""
        if name not in self._known:
            is_alone = len({use.node.inputs[0] for use in weight.uses()}) == 1
            rounding = self._rounding if is_alone or hessian is None else Nearest()
            numbers, grid = self._rounded(_laid(node), rounding, hessian)
            stored = Stored(
                numbers=numbers, grid=grid, groups=self._groups, is_transposed=is_transposed
            )
            self._known[name] = self._pack(self._graph, name, stored, self._keep)
        self._read(self._graph, node, self._known[name], self._groups)
        self._forget(weight)

    def write_table(self, node: ir.Node) -> None:
        """Let `node` look up stored rows."""
        value = node.inputs[0]
        assert value is not None  # it is a site
        name, tensor = f"{value.name}_rows", lookup.table(node)
        if name not in self._known and tensor is not None:
            self._known[name] = lookup.store_rows(self._graph, name, tensor, self._keep)
        lookup.look_up(self._graph, node, self._known[name])
        self._forget(value)

    def _forget(self, weight: ir.Value) -> None:
        """Take out a float weight that nobody reads any more."""
        if not weight.uses() and not weight.is_graph_output():
            del self._graph.initializers[weight.name or ""]

    def _rounded(
        self,
        weight: NDArray[np.generic],
        rounding: Rounding,
        hessian: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.int16], Grid]:
        """A part of the outputs at a time, where no data has to be looked at again for each."""
        step = len(weight) if rounding.needs_hessian else max(1, AT_ONCE // weight.shape[1])
        parts = []
        for first in range(0, weight.shape[0], step):
            rows = np.ascontiguousarray(weight[first : first + step], np.float32)
            parts.append(rounding.round(rows, self._groups.fitted(rows), hessian))
        numbers, grids = zip(*parts, strict=True)
        whole = replace(
            grids[0],
            scale=np.concatenate([grid.scale for grid in grids]),
            zero_point=np.concatenate([grid.zero_point for grid in grids]),
        )
        return np.concatenate(numbers), whole


def _laid(node: ir.Node) -> NDArray[np.float32]:
    """The weight of a site as `[outputs, inputs]`."""
    tensor = constant(node.inputs[1])
    assert tensor is not None  # it is a site
    array = tensor.numpy()
    return array if node.attributes.get_int("transB", 0) else array.T


def _sites(graph: ir.Graph, plan: Plan) -> list[ir.Node]:
    """The nodes that the plan quantizes and that are still there, in data order."""
    names = {d.site for d in plan.quantized}
    return [node for node in graph if node.name in names]


def _by_value(graph: ir.Graph, plan: Plan) -> list[list[ir.Node]]:
    """The products among the sites; those of one value together, in data order."""
    found: dict[ir.Value, list[ir.Node]] = {}
    for node in _sites(graph, plan):
        if node.inputs[0] is not None:
            found.setdefault(node.inputs[0], []).append(node)
    return list(found.values())


def _raised(model: ir.Model) -> ir.Model:
    """The model in the opset of blocked DequantizeLinear, at least."""
    from onnxscript import version_converter

    opset = model.graph.opset_imports.get("")
    if opset is not None and opset < BLOCKED_OPSET:
        version_converter.convert_version(model, BLOCKED_OPSET)
    model.ir_version = max(model.ir_version, 10)  # the first with 4-bit integers
    return model
