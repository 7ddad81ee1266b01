"""A quantized model that is to be diagnosed: a file of any tool's, or what a recipe makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from gossamer import plugins
from gossamer.errors import RecipeError, SourceError
from gossamer.graph.absorbed import restored
from gossamer.graph.passes.simplify import simplify
from gossamer.graph.sites import DEQUANTIZE, QUANTIZE, Site, in_float, originals, sites
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.run import save
from gossamer.step import GraphContext

if TYPE_CHECKING:
    from gossamer.plan import Plan
    from gossamer.recipe import Recipe
    from gossamer.source import FloatModel
    from gossamer.step import Calibration
    from gossamer.target import TargetSpec

GRAPH = "model.onnx"  # in a folder of its own: large weights lie beside it
FORM = "Write it with QuantizeLinear and DequantizeLinear (the form QDQ)."


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One quantized model beside its float model.

    Attributes:
        given: The quantized ONNX graph, as the runtime reads it.
        graph: The same, with what a quantizer absorbed into ranges written out.
        runtime: Name of the runtime.
        reference: The float graph whose values have the same names.
        sites: What is quantized.
        everything: Names of all sites, those included that only carry int8 on.
        without: Makes the graph with some sites, by name, in float.
        bare: Makes the graph in which no activation is stored.
        changed: Values that are other numbers than in the float graph, by intent.
        unmatched: Names of sites' outputs that the float graph does not have.
    """

    given: Path
    graph: Path
    runtime: str
    reference: Path
    sites: tuple[Site, ...]
    everything: tuple[str, ...]
    without: Callable[[Collection[str]], ir.Model]
    bare: Callable[[], ir.Model]
    changed: frozenset[str] = frozenset()
    unmatched: tuple[str, ...] = ()


def of_file(model: FloatModel, quantized: FloatModel, runtime: str, folder: Path) -> Case:
    """The case of a file with Q/DQ.

    Args:
        model: The opened float model.
        quantized: The opened file.
        runtime: Where it is scored.
        folder: For the float graph.

    Raises:
        SourceError: The file has no Q/DQ, or is no twin of the float model.
    """
    graph = _named(ir.load(quantized.path))
    found = sites(graph.graph)
    if not found:
        raise _unquantized(graph.graph)
    theirs = {t.name for t in quantized.inputs}, {t.name for t in quantized.outputs}
    ours = {t.name for t in model.inputs}, {t.name for t in model.outputs}
    if theirs != ours:
        raise SourceError(
            f"a quantized file of the same model: inputs {_listed(ours[0])}, "
            f"outputs {_listed(ours[1])}",
            f"inputs {_listed(theirs[0])}, outputs {_listed(theirs[1])}",
            "Name the float model that the file was made from.",
        )
    names = {site.output for site in found}
    candidates = [_named(ir.load(model.path)), simplify(ir.load(model.path))]
    reference = max(candidates, key=lambda m: len(names & _made(m)))
    unmatched = tuple(s.output for s in found if s.output not in _made(reference))
    if not names & _made(reference) - ours[1] and len(found) > 1:
        raise SourceError(
            "a quantized file whose values have the names that they have in the float model",
            f"{len(found)} quantized sites, of which the float model knows none but outputs",
            "Name the float file that was given to the quantizer.",
        )
    reference = _lifted(reference, graph)
    found = sites(restored(graph, reference).graph)
    kept = originals(graph, found, reference)
    save(reference, folder / "reference" / GRAPH)
    save(graph, folder / "graph" / GRAPH)

    def without(chosen: Collection[str]) -> ir.Model:
        whole = ir.load(folder / "graph" / GRAPH)
        return in_float(whole, [s for s in found if s.name in chosen], kept)

    return Case(
        given=quantized.path,
        graph=folder / "graph" / GRAPH,
        runtime=runtime,
        reference=folder / "reference" / GRAPH,
        sites=found,
        everything=tuple(s.name for s in found),
        without=without,
        bare=lambda: without([s.name for s in found]),
        unmatched=unmatched,
    )


def of_recipe(model: FloatModel, recipe: Recipe, calibration: Calibration, folder: Path) -> Case:
    """The case of what a recipe makes.

    Args:
        model: The opened float model.
        recipe: With the step `quantize-static`.
        calibration: As the recipe was made with.
        folder: For graphs.

    Raises:
        RecipeError: The recipe has no such step, or it quantizes nothing.
    """
    target: TargetSpec = plugins.load("targets", recipe.target)
    places = [i for i, s in enumerate(recipe.graph_steps) if isinstance(s, QuantizeStatic)]
    if not places:
        raise RecipeError(
            "a recipe with the step quantize-static",
            f"one with {_listed(map(_name, recipe.graph_steps))}",
            "Only static int8 has ranges and sites to be diagnosed.",
        )
    plans: list[Plan] = []
    context = GraphContext(
        target=target, cpu=recipe.cpu, calibration=calibration, record=plans.append
    )
    reference, given = folder / "reference" / GRAPH, folder / "given" / GRAPH
    graph = ir.load(model.path)
    for step in recipe.graph_steps[: places[0]]:
        graph = step.apply(graph, context)
    save(graph, reference)

    def without(chosen: Collection[str]) -> ir.Model:
        graph = ir.load(reference)
        for step in recipe.graph_steps[places[0] :]:
            graph = _reverted(step, chosen).apply(graph, context)
        return graph

    whole = without(())
    save(whole, given)
    everything = tuple(d.site for d in plans[-1].quantized)
    graph = restored(whole, ir.load(reference))
    save(graph, folder / "graph" / GRAPH)
    found = tuple(s for s in sites(graph.graph) if s.name in everything)
    if not found:
        raise RecipeError(
            "a recipe that quantizes something",
            "one whose sites are all in float",
            "There is nothing to diagnose: give another recipe.",
        )
    return Case(
        given=given,
        graph=folder / "graph" / GRAPH,
        runtime=target.runtime,
        reference=reference,
        sites=found,
        everything=everything,
        without=without,
        bare=lambda: in_float(ir.load(folder / "graph" / GRAPH), found, {}),
        changed=frozenset(plans[-1].rescaled),
    )


def _reverted(step: object, chosen: Collection[str]) -> QuantizeStatic:
    if isinstance(step, QuantizeStatic):
        reverted = tuple(sorted({*step.reverted, *chosen}))
        return dataclasses.replace(step, reverted=reverted, format="qdq")  # what sites are found in
    return step  # type: ignore[return-value] # any other step stays as it is


def _lifted(reference: ir.Model, quantized: ir.Model) -> ir.Model:
    """The float graph in the opset of its twin, if that is newer."""
    wanted = quantized.graph.opset_imports.get("")
    if wanted is not None and wanted > (reference.graph.opset_imports.get("") or wanted):
        from onnxscript.version_converter import convert_version

        convert_version(reference, wanted)
    return reference


def _named(model: ir.Model) -> ir.Model:
    """`model` (edited in place) with a name of its own on every node."""
    NameFixPass()(model)
    return model


def _unquantized(graph: ir.Graph) -> SourceError:
    whole = sorted({n.op_type for n in graph if n.op_type.startswith("QLinear")})
    whole += sorted({n.op_type for n in graph if n.op_type.endswith("Integer")})
    pairs = sum(n.op_type in (QUANTIZE, DEQUANTIZE) for n in graph)
    found = "a graph without" if not pairs else "a graph in which no node reads through"
    said = f", but with {_listed(whole)}" if whole else ""
    return SourceError(
        "a quantized model with pairs of QuantizeLinear and DequantizeLinear",
        f"{found} such pairs{said}",
        FORM if whole else "Give the file that the quantizer wrote, or a recipe.yaml.",
    )


def _made(model: ir.Model) -> set[str]:
    return {o.name or "" for node in model.graph for o in node.outputs}


def _name(step: object) -> str:
    return str(next(iter(plugins.dump(step))))


def _listed(names: Collection[str] | map[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
