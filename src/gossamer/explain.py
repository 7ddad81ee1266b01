"""What happens at every site of a model, and what a model is made of."""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.report import document, words
from gossamer.result import Candidate

if TYPE_CHECKING:
    from gossamer.plan import Plan
    from gossamer.recipe import Recipe
    from gossamer.target import TargetSpec

RECIPES = (".yaml", ".yml")


def explain(
    model: str | Path,
    *,
    targets: Sequence[str] = (),
    cpu: str = "portable",
    exclude: Sequence[str] = (),
) -> Iterator[str]:
    """Lines that say what static int8 does at every site, with the reason.

    For an output folder of compress these are the winner's sites; for a recipe, what its step
    quantize-static does; for a model, what would be done on each target.

    Args:
        model: The model, the folder, or a recipe.yaml.
        targets: Names of targets, installed or not; empty is every one whose runtime is installed.
        cpu: Weakest CPU level on which the result must be right.
        exclude: Nodes of a model that stay in float, as `gossamer.graph.select` finds them.

    Raises:
        InputError: There is no such model or target, or a selector matches nothing.
        RecipeError: `exclude` is given with an output folder or a recipe, or the recipe does not
            quantize statically.
    """
    out = Path(model)
    if out.suffix in RECIPES:
        yield from _recipe(out, targets, exclude)
        return
    if (out / "result.json").is_file():
        if exclude:
            raise RecipeError(
                "a model, where --exclude is given",
                f"the output folder {model}, whose candidates are made",
                "Explain the model itself, or compress it again with --exclude.",
            )
        result = document.read(out / "result.json", out)
        yield f"{result.verdict}: {result.reason}"
        if result.winner is not None:
            yield from _candidate(result.winner)
        return
    from gossamer.measure.environment import named_level
    from gossamer.run import planned
    from gossamer.search.prepare import installed_targets, selected
    from gossamer.sources import find

    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        opened = find(str(model)).open(Path(scratch))
        cpu = named_level(cpu)
        matches = selected(opened, installed_targets(targets, cpu, must_run=False), exclude)
        for name, nodes in matches.items():
            found = planned(opened, _static(name, cpu, [s for s in nodes if nodes[s]]))
            yield from _heading(found)
            if nodes:
                counts = ", ".join(f"{s} {len(nodes[s])} nodes" for s in nodes)
                yield f"kept in float: {counts}"
            yield from _plan(found)


def doubts() -> dict[str, str]:
    """What is unproven of targets, by their names; those of which all is proven are left out."""
    found = {name: plugins.load("targets", name).unproven for name in plugins.names("targets")}
    return {name: doubt for name, doubt in found.items() if doubt}


def inspect(model: str | Path) -> Iterator[str]:
    """Lines that show inputs, outputs, operators and size of a model.

    Raises:
        InputError: There is no such model.
    """
    import onnx_ir as ir

    from gossamer.sources import find

    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        opened = find(str(model)).open(Path(scratch))
        for key, value in opened.description:
            yield f"{key:12} {value}"
        for title, tensors in (("input", opened.inputs), ("output", opened.outputs)):
            for t in tensors:
                shape = "?" if t.shape is None else ", ".join(str(d or "?") for d in t.shape)
                yield f"{title:12} {t.name}: {t.dtype}[{shape}]"
        graph = ir.load(opened.path).graph
        counts = collections.Counter(
            f"{n.domain}::{n.op_type}" if n.domain else n.op_type for n in graph
        )
        for op, count in counts.most_common():
            yield f"{'operator':12} {count:5} {op}"


def _recipe(path: Path, targets: Sequence[str], exclude: Sequence[str]) -> Iterator[str]:
    """Lines for a recipe.yaml, whose target and selections are its own."""
    from gossamer.rerun import check_model, read
    from gossamer.run import planned
    from gossamer.sources import find

    if targets or exclude:
        raise RecipeError(
            "a recipe.yaml alone: it has its own target and exclude",
            f"{path} with other options",
            "Change the recipe.",
        )
    record = read(path)
    recipe = graph_recipe(record, path)
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        name = str(record["source"]["model"])
        opened = find(name).open(Path(scratch))
        check_model(record, opened, name)
        found = planned(opened, recipe)
        yield from _heading(found)
        yield from _plan(found)


def graph_recipe(record: dict[str, Any], path: Path) -> Recipe:
    """The recipe of what `rerun.read` gave, for those who look at the source as it came.

    Raises:
        RecipeError: It is none, or it trains first.
    """
    from gossamer.rerun import parse

    parsed = parse(record)
    if parsed.module_steps:
        raise RecipeError(
            "a recipe of graph-steps alone",
            f"{path}, which has module-steps",
            "Run it (gossamer run), then give OUT/module as the model.",
        )
    return parsed


def _static(target: str, cpu: str, exclude: Sequence[str]) -> Recipe:
    """Static int8 as it is without options."""
    from gossamer.graph.steps.fuse import Fuse
    from gossamer.graph.steps.quantize_static import QuantizeStatic
    from gossamer.graph.steps.simplify import Simplify
    from gossamer.recipe import Recipe

    steps = (Simplify(), Fuse(), QuantizeStatic(exclude=tuple(exclude)))
    return Recipe(target=target, cpu=cpu, graph_steps=steps)


def _heading(found: Plan) -> Iterator[str]:
    """What holds for all sites."""
    target: TargetSpec = plugins.load("targets", found.target)
    where = f"right on {found.cpu} CPUs and better"
    if target.device == "gpu":
        where = "on NVIDIA GPUs"
    yield f"{found.target}, {where}, products added in {found.weight.accumulator}"
    if grown := [d.growth for d in found.quantized if d.growth > 1]:
        mean = sum(grown) / len(grown)
        yield f"{len(grown)} sites with larger steps for that, {mean:.2f} times in the mean"
    if target.unproven:
        yield f"unproven: {target.unproven}"
    if not target.rules:
        yield "no static int8: the target has no rule for it"


def _plan(plan: Plan) -> Iterator[str]:
    yield from _rows((d.site, d.op, d.reason.value, d.detail) for d in plan.decisions)


def _candidate(candidate: Candidate) -> Iterator[str]:
    yield f"{candidate.label} on {candidate.target}"
    if doubt := words.unproven(candidate):
        yield f"unproven: {doubt}"
    yield from _rows(iter(candidate.plan))


def _rows(rows: Iterator[tuple[str, str, str, str]]) -> Iterator[str]:
    known = list(rows)
    counts = collections.Counter(reason for _, _, reason, _ in known)
    yield ", ".join(f"{n} {reason}" for reason, n in counts.most_common()) or "no sites"
    for site, op, reason, detail in known:
        yield f"  {site:40} {op:20} {reason:24} {detail}"
