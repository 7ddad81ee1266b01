"""Where in a module the values and weights of a plan are.

Names do not say it: activations of a graph are named by the exporter, and weights that it stores
transposed too. Numbers do: the module runs once on real samples, and so does its graph, and what is
equal in both is the same tensor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.export.agree import outputs_on_ort
from gossamer.quant import NUMPY
from gossamer.spot import Spot, Spots

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from gossamer.plan import Decision, Plan
    from gossamer.quant import QParams, QuantSpec
    from gossamer.spot import Part

    Array = NDArray[np.generic]

CLOSE = 1e-4  # of the largest number of a value


def find_spots(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    plan: Plan,
    graph: ir.Model,
    numbers: Mapping[str, QParams],
) -> Spots:
    """Where `module` has what `plan` stores.

    1. A weight is the parameter of equal numbers, but for one factor of all, transposed or not; of
       several, that of the module which reads what the weight is multiplied with.
    2. A value that everybody reads stored is stored where a module returns it, if that shows it
       first; else where modules are given it, the outermost ones.
    3. A value that others read in float is stored in front of the modules that read it stored.
    4. A value that only moves the numbers of one that is stored needs nothing.
    5. A bias that is stored in int32 has steps that its weight and its data tell.

    What no module shows is told, with the reason.

    Args:
        module: In eval mode; it is only run.
        inputs: Real samples by the names of the graph's inputs: zeros would equal too much.
        plan: Of the graph.
        graph: The simplified float graph of the module that the plan was made for.
        numbers: Ranges of activations to start from.
    """
    search = _Search(
        plan=plan,
        graph=graph.graph,
        shown=_boundaries(module, inputs),
        made=_run(graph, _names(plan, graph.graph), inputs),
        numbers=numbers,
        containers={path for path, each in module.named_modules() if any(each.children())},
    )
    owners = _weights(module, search)
    _activations(search, owners)
    _biases(module, search, owners)
    return Spots(spots=tuple(search.found), missed=tuple(search.missed.items()))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Boundary:
    """What one module was given first, or returned."""

    path: str
    part: Part
    numbers: Array


@dataclass(kw_only=True, slots=True)
class _Search:
    """What is known, and what was found."""

    plan: Plan
    graph: ir.Graph
    shown: Sequence[_Boundary]
    made: Mapping[str, Array]
    numbers: Mapping[str, QParams]
    containers: Collection[str]
    found: list[Spot] = field(default_factory=list)
    missed: dict[str, str] = field(default_factory=dict)

    def showing(self, value: str) -> list[_Boundary]:
        """Where a value shows, in the order of the run."""
        known = self.made[value]
        return [b for b in self.shown if _are_equal(known, b.numbers)]

    def given(self, value: str) -> list[_Boundary]:
        """Where a module is given it."""
        return [b for b in self.showing(value) if b.part == "input"]

    def store(self, value: str, boundary: _Boundary) -> None:
        """Note a spot, unless it is one already."""
        group = next((g for g in self.plan.groups if value in g), frozenset((value,)))
        names = tuple(v for v in self.plan.values if v in group)
        place = (boundary.path, boundary.part)
        before = next((s for s in self.found if (s.module, s.part) == place), None)
        if before is not None:
            if before.values != names:
                self.missed[value] = f"the {before.where} is stored as {before.values[0]} is"
            return
        start = self.numbers[value]
        spec = _as_stored(self.plan.activation_of(value), start)
        self.found.append(
            Spot(module=place[0], part=boundary.part, values=names, spec=spec, start=start)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Owner:
    """The parameter that a weight of the graph is."""

    path: str
    parameter: str
    is_turned: bool
    factor: float


def _boundaries(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[_Boundary]:
    """What each module that runs once was given first and returned, in the order of the run."""
    import torch

    shown: list[_Boundary] = []
    calls: dict[str, int] = {}

    def note(path: str, part: Part, given: object) -> None:
        if isinstance(given, torch.Tensor) and given.is_floating_point():
            copied = given.detach().float().cpu().numpy().copy()  # they may change in place
            shown.append(_Boundary(path=path, part=part, numbers=copied))

    def before(path: str) -> Any:
        def hook(_: nn.Module, given: tuple[object, ...]) -> None:
            calls[path] = calls.get(path, 0) + 1
            note(path, "input", given[0] if given else None)

        return hook

    hooks = []
    for path, each in module.named_modules():
        hooks.append(each.register_forward_pre_hook(before(path)))
        hooks.append(
            each.register_forward_hook(lambda _, __, made, path=path: note(path, "output", made))
        )
    try:
        with torch.no_grad():
            module(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [b for b in shown if calls[b.path] == 1]


def _names(plan: Plan, graph: ir.Graph) -> list[str]:
    """The values to look at: those of the plan, what weights meet, what sites without make."""
    sites = {d.site: d for d in plan.quantized}
    wanted = dict.fromkeys((*plan.values, *plan.weighted))
    for node in graph:
        decision = sites.get(node.name or "")
        if decision is not None and decision.weight is None:
            wanted[node.outputs[0].name or ""] = None
    return list(wanted)


def _run(model: ir.Model, names: Sequence[str], inputs: Mapping[str, Tensor]) -> dict[str, Array]:
    """The numbers of some values of a graph, which is only read."""
    import onnx_ir as ir

    copied = ir.from_proto(ir.to_proto(model))
    graph = copied.graph
    values = {v.name: v for v in (*graph.inputs, *(o for n in graph for o in n.outputs))}
    feed = {name: x.detach().cpu().numpy() for name, x in inputs.items()}
    for name in names:
        value = values[name]
        if not value.is_graph_output() and not value.is_graph_input():
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
            graph.outputs.append(value)
    with tempfile.TemporaryDirectory(prefix="gossamer-") as folder:
        path = Path(folder) / "model.onnx"
        ir.save(copied, path)
        (found,) = outputs_on_ort(path, [feed])
    return {name: np.asarray(found.get(name, feed.get(name))) for name in names}


def _weights(module: nn.Module, search: _Search) -> dict[str, _Owner]:
    """The owners of the weights of the plan, each now a spot."""
    parameters = [
        (path, name, tensor.detach().float().cpu().numpy())
        for path, each in module.named_modules()
        for name, tensor in each.named_parameters(recurse=False)
        if tensor.ndim > 1
    ]
    owners: dict[str, _Owner] = {}
    for decision in search.plan.quantized:
        name = decision.weight
        if name is None or name in owners or name in search.missed:
            continue
        tensor = search.graph.initializers[name].const_value
        array = tensor.numpy() if tensor is not None else np.zeros(0)
        readers = {b.path for b in search.given(decision.data or "")}
        equal = [
            _Owner(path=path, parameter=parameter, is_turned=turned, factor=factor)
            for path, parameter, own in parameters
            for turned in (False, True)[: 2 if own.ndim == 2 else 1]
            if (factor := _factor(own.T if turned else own, array))
        ]
        equal.sort(key=lambda o: (o.path not in readers, f"{o.path}.{o.parameter}" != name))
        if not equal:
            search.missed[name] = "no parameter has these numbers: something was folded into it"
            continue
        owners[name] = equal[0]
        search.found.append(_weight_spot(search.plan, decision, equal[0], array.ndim))
    return owners


def _weight_spot(plan: Plan, decision: Decision, owner: _Owner, rank: int) -> Spot:
    spec = plan.weight_of(decision.weight)
    stored = decision.weight_axis if spec.granularity == "per-channel" else None
    axis = stored
    if stored is not None and owner.is_turned:
        axis = rank - 1 - stored
    return Spot(
        module=owner.path,
        part="weight",
        parameter=owner.parameter,
        values=(decision.weight or "",),
        spec=spec,
        axis=axis,
        stored_axis=stored,
        factor=owner.factor,
    )


def _biases(module: nn.Module, search: _Search, owners: Mapping[str, _Owner]) -> None:
    known = {name for spot in search.found for name in spot.values}
    for decision in search.plan.quantized:
        owner = owners.get(decision.weight or "")
        if owner is None or decision.bias is None or not {*decision.inputs[:1]} & known:
            continue
        own = dict(module.get_submodule(owner.path).named_parameters(recurse=False)).get("bias")
        tensor = search.graph.initializers[decision.bias].const_value
        array = np.zeros(0) if tensor is None else tensor.numpy()
        if own is None or not _is_same(own.detach().float().cpu().numpy(), array):
            search.missed[decision.bias] = "no parameter beside its weight has these numbers"
            continue
        search.found.append(
            Spot(
                module=owner.path,
                part="bias",
                parameter="bias",
                beside=owner.parameter,
                values=(decision.inputs[0], decision.weight or ""),
                spec=search.plan.weight_of(decision.weight),
            )
        )


def _activations(search: _Search, owners: Mapping[str, _Owner]) -> None:
    plan, covered = search.plan, set[str]()
    moved = {
        d.outputs[0]: d.inputs[0]
        for d in plan.quantized
        if d.weight is None and (*d.inputs, *d.outputs) in plan.shared
    }
    values = {v.name: v for v in search.graph.inputs}
    values |= {v.name: v for node in search.graph for v in node.outputs}
    for name in plan.values:
        if moved.get(name) in covered:
            covered.add(name)
            continue
        readers = [d for d in plan.quantized if name in d.inputs]
        is_made = any(name in d.outputs for d in plan.quantized)
        reason = (
            _store_for_all(search, name, [d for d in readers if not moved.keys() & {*d.outputs}])
            if is_made or _is_read_stored(values[name], readers)
            else _store_for_readers(search, name, readers, owners)
        )
        if reason:
            search.missed[name] = reason
        else:
            covered.add(name)


def _is_read_stored(value: ir.Value, readers: Sequence[Decision]) -> bool:
    """Whether everybody reads a value behind its Q."""
    names = {n for d in readers for n in (d.site, *d.fused, *d.through)}
    return not value.is_graph_output() and all(use.node.name in names for use in value.uses())


def _store_for_all(search: _Search, name: str, readers: Sequence[Decision]) -> str:
    """Store a value for everybody; the reason if that is not possible, or not wholly."""
    shown = search.showing(name)
    if shown and shown[0].part == "output":  # of a module that returns what it got, others read it
        search.store(name, shown[0])
        return ""
    given = list(_outermost([b for b in shown if b.part == "input"]))
    for boundary in given:
        search.store(name, boundary)
    if not given:
        return "no module is given it or returns it"
    others = [d.site for d in readers if d.weight is None]
    if others and not any(b.path in search.containers for b in given):
        return f"stored for {given[0].path}, but {', '.join(others)} may read it outside of modules"
    return ""


def _store_for_readers(
    search: _Search, name: str, readers: Sequence[Decision], owners: Mapping[str, _Owner]
) -> str:
    """Store a value in front of those who read it so; the reason if some cannot be found."""
    nodes = {node.name: node for node in search.graph}
    lost = []
    for decision in readers:
        if decision.weight is not None:
            owner = owners.get(decision.weight)
            given = search.given(decision.data or "")
            paths = {owner.path} if owner is not None else set()
        else:
            given = search.given(name)
            made = nodes[decision.site].outputs[0].name or ""
            paths = {b.path for b in search.showing(made) if b.part == "output"}
        fitting = [b for b in given if b.path in paths]
        for boundary in fitting[:1]:
            search.store(name, boundary)
        if not fitting:
            lost.append(decision.site)
    return f"no module is what {', '.join(lost)} of the graph is" if lost else ""


def _outermost(given: Sequence[_Boundary]) -> Iterator[_Boundary]:
    paths = {b.path for b in given}
    for boundary in given:
        steps = boundary.path.split(".") if boundary.path else []
        above = {".".join(steps[:n]) for n in range(len(steps))}
        if not above & paths:
            yield boundary


def _as_stored(spec: QuantSpec, numbers: QParams) -> QuantSpec:
    """The spec, or that of signed numbers where a zero point of 0 asked for them."""
    if numbers.zero_point.dtype == NUMPY[spec.dtype]:
        return spec
    signed = {v: k for k, v in NUMPY.items()}[numbers.zero_point.dtype]
    return replace(spec, dtype=signed, symmetric=True)  # type: ignore[arg-type]


def _factor(own: Array, array: Array) -> float:
    """What all numbers of `own` come multiplied with in `array`; 0 if it is another one."""
    if own.shape != array.shape:
        return 0.0
    if _are_equal(array, own):
        return 1.0
    flat, other = own.ravel().astype(np.float64), array.ravel().astype(np.float64)
    place = int(np.abs(flat).argmax())
    found = float(other[place] / flat[place]) if flat[place] else 0.0
    return (
        found
        if found > 0 and _are_equal(array, own.astype(np.float32) * np.float32(found))
        else 0.0
    )


def _is_same(own: Array, array: Array) -> bool:
    return own.shape == array.shape and _are_equal(own, array)


def _are_equal(a: Array, b: Array) -> bool:
    """Whether two have the same numbers; views of one value differ in shape."""
    if a.size != b.size or not a.size:
        return False
    flat, other = a.ravel().astype(np.float32), b.ravel().astype(np.float32)
    return bool(np.abs(flat - other).max() <= CLOSE * np.abs(flat).max())
