"""The recipe of a setting, and what of the setting no recipe can say."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.graph.observers.entropy import Entropy
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.observers.moving_average import MovingAverage
from gossamer.graph.observers.mse import Mse
from gossamer.graph.observers.percentile import Percentile
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_dynamic import QuantizeDynamic
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.grid.asked import TARGETS
from gossamer.recipe import Recipe
from gossamer.run import applied, observed_by
from gossamer.sources import raised
from gossamer.step import Override, RangeRule

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import onnx_ir as ir

    from gossamer.graph.taps import Wanted
    from gossamer.setting import Ranges, Setting
    from gossamer.source import FloatModel
    from gossamer.step import GraphStep
    from gossamer.target import TargetSpec

EVERYTHING = "re:."
PYTORCH = "pytorch: its kernels run the exported graph, not the module as Python calls it"
FUSING = 2  # ONNX Runtime's level from which on operators are joined


@dataclass(kw_only=True, eq=False)
class Recipes:
    """Recipes for one model; each graph that steps quantize is made once.

    Attributes:
        model: The opened source.
        cache: Where the model lies in other opsets.
        seed: Of the recipes.
    """

    model: FloatModel
    cache: Path
    seed: int = 0
    _graphs: dict[tuple[int | None, str, bool], ir.Model] = field(default_factory=dict)

    def recipe(self, setting: Setting) -> tuple[Recipe, tuple[str, ...]]:
        """The recipe, and what it does otherwise than asked for.

        Raises:
            RecipeError: No recipe does anything like it.
            TargetError: The target has no such kernels.
        """
        target: TargetSpec = plugins.load(
            "targets", TARGETS.get(setting.framework, setting.framework)
        )
        if setting.aware_training:
            raise RecipeError(
                "aware_training: false: a sweep does not train",
                "true",
                "Train with gossamer run and a recipe with module-steps, and sweep its result.",
            )
        opset = self.opset(setting)
        remarks: tuple[str, ...] = ()
        if self.lowered(setting) is not None and target.runtime == "openvino":
            remarks = (f"opset {setting.opset}: files of OpenVINO have none",)
        if target.runtime == "torch-cpu":
            remarks = (*remarks, PYTORCH)
        if setting.approach is None:
            return Recipe(target=target.name, precision="f32", seed=self.seed), remarks
        graph = self.graph(opset, target.name, is_fused=_is_fused(setting))
        exclude, missing = _excluded(graph.graph, target, setting)
        step: QuantizeStatic | QuantizeDynamic
        if setting.approach == "static":
            step = _static(setting, exclude)
        else:
            step = _dynamic(setting, exclude)
        before: tuple[GraphStep, ...] = (
            (Simplify(), Fuse()) if _is_fused(setting) else (Simplify(),)
        )
        recipe = Recipe(target=target.name, graph_steps=(*before, step), seed=self.seed)
        return recipe, (*remarks, *missing)

    @functools.cached_property
    def held(self) -> int:
        """The opset in which the model opens."""
        import onnx_ir as ir

        return ir.load(self.model.path).graph.opset_imports.get("") or 0

    def opset(self, setting: Setting) -> int | None:
        """The opset that the model is moved to; None where it stays as it opens."""
        return setting.opset if setting.opset is not None and setting.opset > self.held else None

    def lowered(self, setting: Setting) -> int | None:
        """The older opset that the finished file is said in; None where it stays."""
        return setting.opset if setting.opset is not None and setting.opset < self.held else None

    def at(self, opset: int | None) -> FloatModel:
        """The float model in an opset.

        Raises:
            SourceError: It cannot be moved there.
        """
        return self.model if opset is None else raised(self.model, opset, self.cache)

    def graph(self, opset: int | None, target: str, *, is_fused: bool) -> ir.Model:
        """What the last step of a recipe is given; to be read only."""
        key = opset, target, is_fused
        if key not in self._graphs:
            steps: tuple[GraphStep, ...] = (Simplify(), Fuse()) if is_fused else (Simplify(),)
            self._graphs[key] = applied(self.at(opset), steps, target)
        return self._graphs[key]

    def wanted(self, opset: int | None, recipes: Iterable[Recipe]) -> Wanted:
        """What one calibration pass must observe for all of these recipes of an opset."""
        plans = []
        for recipe in recipes:
            step = recipe.graph_steps[-1] if recipe.graph_steps else None
            if isinstance(step, QuantizeStatic):
                graph = self.graph(opset, recipe.target, is_fused=len(recipe.graph_steps) > 2)
                spec: TargetSpec = plugins.load("targets", recipe.target)
                plans.append(step.placed(graph, spec, recipe.cpu))
        return observed_by(self.graph(opset, "ort-cpu", is_fused=False), plans)


def _is_fused(setting: Setting) -> bool:
    return setting.level is None or setting.level >= FUSING


def _static(setting: Setting, exclude: tuple[str, ...]) -> QuantizeStatic:
    """Ranges that were asked for hold for every value, so nothing is smoothed beside them."""
    step = QuantizeStatic(
        exclude=exclude,
        weight_bits=7 if setting.reduce_range else 8,
        placement="profitable" if setting.operators is None else "uniform",
        overrides=() if setting.per_channel is None else _granular(per_channel=setting.per_channel),
    )
    if setting.ranges is None:
        return step
    return dataclasses.replace(step, ranges=_rule(setting.ranges), smoothing="none")


def _granular(*, per_channel: bool) -> tuple[Override, ...]:
    granularity: Literal["per-tensor", "per-channel"]
    granularity = "per-channel" if per_channel else "per-tensor"
    return (Override(nodes=(EVERYTHING,), granularity=granularity),)


def _dynamic(setting: Setting, exclude: tuple[str, ...]) -> QuantizeDynamic:
    return QuantizeDynamic(
        exclude=exclude,
        weight_bits=7 if setting.reduce_range else 8,
        granularity="per-tensor" if setting.per_channel is False else "per-channel",
        placement="profitable" if setting.operators is None else "uniform",
    )


def _rule(ranges: Ranges) -> RangeRule:
    match ranges.method:
        case "percentile":
            return Percentile() if ranges.percentile is None else Percentile(p=ranges.percentile)
        case "entropy":
            return Entropy()
        case "mse":
            return Mse()
        case "minmax":
            return MinMax() if ranges.average is None else MovingAverage(c=ranges.average)


def _excluded(
    graph: ir.Graph, target: TargetSpec, setting: Setting
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Selectors of what stays in float, and which of the setting's words match nothing."""
    from gossamer.graph.select import matched

    held = sorted({node.op_type for node in graph if not node.domain})
    found = matched(graph, setting.exclusion or ())
    kept = [selector for selector, nodes in found.items() if nodes]
    missing = [selector for selector, nodes in found.items() if not nodes]
    if setting.operators is not None:
        able = {op for rule in target.rules for op in rule.ops}
        able |= {*target.follows, *target.transparent, *target.dynamic}
        kept += [op for op in held if op in able and op not in setting.operators]
        missing += [op for op in setting.operators if op not in held]
    words = f"{', '.join(missing)}: nothing in the graph is one" if missing else ""
    return tuple(dict.fromkeys(kept)), (words,) if words else ()
