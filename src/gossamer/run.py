"""From a float model and a recipe to files that a runtime loads: every stage in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer import plugins, store
from gossamer.artifact import Artifact
from gossamer.errors import CalibrationError, RecipeError
from gossamer.measure.isolate import build
from gossamer.plan import Plan
from gossamer.step import Calibration, GraphContext, GraphStep
from gossamer.task import affordable

if TYPE_CHECKING:
    import onnx_ir as ir

    from gossamer.graph.taps import Wanted
    from gossamer.progress import Progress
    from gossamer.recipe import Recipe
    from gossamer.runtime import Feed, Runtime
    from gossamer.source import FloatModel
    from gossamer.statistics import Statistics
    from gossamer.target import TargetSpec
    from gossamer.task import Split

FEW_SAMPLES = 32
FILE_LIMIT = 1_500_000_000  # larger graphs keep their weights beside them: protobuf ends at 2 GB


def run(
    model: FloatModel, recipe: Recipe, folder: Path, calibration: Calibration, progress: Progress
) -> Artifact:
    """The files that `recipe` makes of `model`, in `folder`: all of them or none.

    Where the target's runtime is not installed, but takes ONNX files as they are, these are the
    ONNX file, and the artifact says what to do with it.

    Args:
        model: The opened source.
        recipe: What to do. Without steps the runtime builds the float graph as it is.
        folder: Where the files go; an existing folder is replaced.
        calibration: What is known of the data; `NO_DATA` for recipes that ask for nothing.
        progress: Is told of long work.

    Raises:
        PlanError: The recipe does not fit the graph.
        BuildError: The runtime refuses the result.
        StorageError: The disk is full or the folder cannot be written.
    """
    import onnx_ir as ir

    target: TargetSpec = plugins.load("targets", recipe.target)
    plans: list[Plan] = []
    with store.folder(folder) as scratch:
        path, between = model.path, scratch / ".graph"
        context = GraphContext(
            target=target,
            cpu=recipe.cpu,
            calibration=calibration,
            record=plans.append,
            folder=between,
            progress=progress,
        )
        if recipe.graph_steps:
            between.mkdir()
            graph = ir.load(model.path)
            for step in recipe.graph_steps:
                graph = step.apply(graph, context)
            path = between / "model.onnx"
            save(graph, path)
        runtime: Runtime = plugins.load("runtimes", target.runtime)()
        elsewhere = "" if runtime.is_installed() else runtime.elsewhere(path)
        # ONNX Runtime, which is always here, copies an ONNX file and says whether it is a model
        files = build("ort" if elsewhere else target.runtime, path, scratch)
        names = tuple(str(file.relative_to(scratch)) for file in files)
        store.remove(between)
    return Artifact(
        folder=folder,
        files=names,
        runtime=target.runtime,
        target=target.name,
        recipe=recipe.digest(),
        plan=plans[-1] if plans else None,
        elsewhere=elsewhere,
    )


def save(graph: object, path: Path) -> None:
    """Write an ONNX graph; weights that are on disk, or too large for one file, lie beside it."""
    import onnx_ir as ir

    if not isinstance(graph, ir.Model):
        raise TypeError(graph)
    with store.told_apart(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = [t for v in graph.graph.initializers.values() if (t := v.const_value) is not None]
        is_on_disk = any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors)
        is_large = sum(tensor.nbytes for tensor in tensors) > FILE_LIMIT
        weights = "model.onnx.data" if is_on_disk or is_large else None
        ir.save(graph, path, external_data=weights)


def calibrate(  # noqa: PLR0913 - what is observed, where, and how
    model: FloatModel,
    targets: Mapping[str, Sequence[str]],
    split: Split,
    *,
    cpu: str,
    threads: int,
    seed: int,
    progress: Progress,
    is_uniform: bool = False,
) -> Statistics:
    """Statistics of every value that any recipe for `targets` can ask for, in one pass.

    Args:
        model: The opened source.
        targets: What stays in float on each target, by its name.
        split: The samples.
        cpu: Weakest CPU level on which the results must be right.
        threads: Threads of the runtime.
        seed: Where samples of values begin.
        progress: Is told of every sample.
        is_uniform: For recipes that store every operator that can be stored (`placement: uniform`),
            from 32 samples: these are for comparison, and pay where the values are few.

    Raises:
        CalibrationError: No target has a site to quantize, or the data holds NaN or Inf.
    """
    import onnx_ir as ir

    from gossamer.graph.calibrate import collect
    from gossamer.graph.passes.simplify import simplify

    graph = simplify(ir.load(model.path))
    plans = [
        plan(model, name, cpu, exclude, is_uniform=is_uniform) for name, exclude in targets.items()
    ]
    split = affordable(split, FEW_SAMPLES) if is_uniform else split
    wanted = observed_by(graph, plans)
    if not wanted.values:
        raise CalibrationError(
            "a site that an int8 kernel of the target can run", "a graph without one"
        )
    return collect(
        graph,
        wanted,
        split.feeds,
        samples=len(split),
        threads=threads,
        seed=seed,
        progress=progress,
    )


def observed_by(graph: ir.Model, plans: Sequence[Plan]) -> Wanted:
    """What calibration must observe in the simplified `graph` for any of `plans`."""
    from gossamer.graph.bias import channel_axes
    from gossamer.graph.taps import Wanted

    known = {v.name for v in graph.graph.inputs}
    known |= {v.name for node in graph.graph for v in node.outputs}
    return Wanted(
        values=tuple(dict.fromkeys(v for p in plans for v in p.values if v in known)),
        means=channel_axes(graph.graph, {v for p in plans for v in p.weighted}),
        extremes={v for p in plans for v in p.smoothed},
    )


def plan(
    model: FloatModel,
    target: str,
    cpu: str,
    exclude: Sequence[str] = (),
    *,
    is_uniform: bool = False,
) -> Plan:
    """What static quantization would do at every site of `model` on `target`.

    Args:
        model: The opened source.
        target: Name of the target.
        cpu: Weakest CPU level on which the result must be right.
        exclude: Nodes that stay in float, as `gossamer.graph.select` finds them.
        is_uniform: Whether every operator that has an int8 kernel gets it, if it pays or not.
    """
    from gossamer.graph.steps.quantize_static import QuantizeStatic

    spec: TargetSpec = plugins.load("targets", target)
    step = QuantizeStatic(
        exclude=tuple(exclude), placement="uniform" if is_uniform else "profitable"
    )
    return step.placed(fused(model, target), spec, cpu)


def planned(model: FloatModel, recipe: Recipe) -> Plan:
    """What the step quantize-static of a recipe would do at every site, without any data.

    Raises:
        RecipeError: The recipe has no such step.
    """
    from gossamer.graph.narrow import told
    from gossamer.graph.steps.quantize_static import QuantizeStatic

    for index, step in enumerate(recipe.graph_steps):
        if isinstance(step, QuantizeStatic):
            graph = applied(model, recipe.graph_steps[:index], recipe.target)
            spec: TargetSpec = plugins.load("targets", recipe.target)
            return told(graph, step.placed(graph, spec, recipe.cpu))
    names = [name for each in recipe.graph_steps for name in plugins.dump(each)]
    raise RecipeError(
        "a recipe with the step quantize-static",
        f"one with {names}",
        "Other steps have no plan that is known before they run.",
    )


def fused(model: FloatModel, target: str) -> ir.Model:
    """The float graph whose sites are placed on `target`."""
    from gossamer.graph.steps.fuse import Fuse
    from gossamer.graph.steps.simplify import Simplify

    return applied(model, (Simplify(), Fuse()), target)


def applied(model: FloatModel, steps: Sequence[GraphStep], target: str) -> ir.Model:
    """The graph that steps which ask for no data make of `model` on `target`."""
    import onnx_ir as ir

    spec: TargetSpec = plugins.load("targets", target)
    context = GraphContext(target=spec, cpu="portable", calibration=NO_DATA, record=lambda _: None)
    graph = ir.load(model.path)
    for step in steps:
        graph = step.apply(graph, context)
    return graph


def _no_statistics(values: Sequence[str]) -> Statistics:
    raise CalibrationError(f"statistics of {len(values)} values", "a plan made without data")


def _no_feeds() -> Iterator[Feed]:
    raise CalibrationError("calibration samples", "a plan made without data")


NO_DATA = Calibration(statistics=_no_statistics, feeds=_no_feeds)
