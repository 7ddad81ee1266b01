"""The candidates of compress, cheapest first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gossamer import plugins
from gossamer.graph.observers.min_max import MinMax
from gossamer.graph.roundings.gptq import Gptq
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_dynamic import QuantizeDynamic
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.quantize_weights import QuantizeWeights
from gossamer.graph.steps.simplify import Simplify
from gossamer.graph.steps.to_half import ToHalf
from gossamer.recipe import Recipe
from gossamer.step import RangeRule
from gossamer.target import TargetSpec

RULES = ("mse", "min-max", "percentile", "moving-average", "entropy")
HALF_FLAGS = {"bf16": ("avx512_bf16", "amx_bf16"), "f16": ("avx512_fp16", "amx_fp16")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One candidate to be tried.

    Attributes:
        label: Short name for tables.
        recipe: What it is.
        placement: Candidates with the same text run the same kernels and differ in numbers only;
            once one of them is within the budget the others cannot be faster.
        details: What the recipe does not say of single sites: why int8 does not pay there.
    """

    label: str
    recipe: Recipe
    placement: str
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Any], cpu: str, seed: int, label: str) -> Rung:
        """A recipe as plain data, which may leave out what the request says.

        Raises:
            RecipeError: It is none.
        """
        recipe = Recipe.parse({"cpu": cpu, "seed": seed, **data})
        return cls(label=label, recipe=recipe, placement=recipe.digest())

    @property
    def is_static(self) -> bool:
        """Whether it needs calibration."""
        return any(isinstance(step, QuantizeStatic) for step in self.recipe.graph_steps)

    @property
    def is_baseline(self) -> bool:
        """Whether it is the float32 model as it came."""
        recipe = self.recipe
        return not (recipe.module_steps or recipe.graph_steps) and recipe.precision == "f32"

    @property
    def is_rounded_by_data(self) -> bool:
        """Whether the calibration samples run once more for it."""
        steps = [step for step in self.recipe.graph_steps if isinstance(step, QuantizeWeights)]
        return any(step.rounding.needs_hessian for step in steps)


def baseline(target: str, cpu: str, seed: int) -> Rung:
    """The float32 model on a target: no steps, nothing below float32."""
    recipe = Recipe(target=target, cpu=cpu, precision="f32", seed=seed)
    return Rung(label="float32", recipe=recipe, placement=f"{target} float32")


Exclude = Mapping[str, tuple[str, ...]]


def ladder(
    targets: tuple[str, ...], cpu: str, flags: tuple[str, ...], seed: int, exclude: Exclude
) -> list[Rung]:
    """Everything compress tries before it takes sites out, cheapest first.

    Args:
        targets: Their names.
        cpu: Weakest CPU level on which the result must be right.
        flags: Of this CPU.
        seed: Of the recipes.
        exclude: What stays in float on each target, where anything does.

    1. What needs no calibration: the fused float32 graph, half floats that this CPU has.
    2. Static int8 with the first range rule on every target, then dynamic int8.
    3. Static int8 with the other range rules.
    """
    specs = [plugins.load("targets", name) for name in targets]
    first = [rung for spec in specs for rung in _float(spec, cpu, flags, seed)]
    out = {spec.name: exclude.get(spec.name, ()) for spec in specs}
    able = [spec for spec in specs if spec.rules]
    static = [[_static(spec, cpu, seed, rule, out[spec.name]) for spec in able] for rule in RULES]
    dynamic = [_dynamic(spec, cpu, seed, out[spec.name]) for spec in specs if spec.dynamic]
    return [*first, *static[0], *dynamic, *(rung for row in static[1:] for rung in row)]


def weights_only(targets: tuple[str, ...], cpu: str, seed: int, exclude: Exclude) -> list[Rung]:
    """Weights of 8 and of 4 bits, activations in float, for models that wait for their weights.

    Args:
        targets: Their names; those without such kernels have no candidates.
        cpu: Weakest CPU level on which the result must be right.
        seed: Of the recipes.
        exclude: What stays in float on each target, where anything does.
    """
    found = []
    for step in (QuantizeWeights(bits=8), QuantizeWeights(bits=4, rounding=Gptq())):
        for name in targets:
            if plugins.load("targets", name).weight_only is None:
                continue
            own = dataclasses.replace(step, exclude=exclude.get(name, ()))
            recipe = Recipe(target=name, cpu=cpu, graph_steps=(Simplify(), Fuse(), own), seed=seed)
            label = f"{step.bits}-bit weights"
            found.append(Rung(label=label, recipe=recipe, placement=f"{name} {label}"))
    return found


def static_recipe(
    target: str, cpu: str, seed: int, ranges: RangeRule | None = None, exclude: tuple[str, ...] = ()
) -> Recipe:
    """The recipe of static int8."""
    steps = (Simplify(), Fuse(), QuantizeStatic(ranges=ranges or MinMax(), exclude=exclude))
    return Recipe(target=target, cpu=cpu, graph_steps=steps, seed=seed)


def _float(spec: TargetSpec, cpu: str, flags: tuple[str, ...], seed: int) -> list[Rung]:
    rungs = []
    if spec.transforms:
        recipe = Recipe(
            target=spec.name, cpu=cpu, graph_steps=(Simplify(), Fuse()), precision="f32", seed=seed
        )
        rungs.append(Rung(label="float32 fused", recipe=recipe, placement=f"{spec.name} fused"))
    for dtype in spec.float_types:
        if set(HALF_FLAGS.get(dtype, ())) & set(flags):
            steps = (Simplify(), Fuse(), ToHalf(dtype=dtype))
            recipe = Recipe(target=spec.name, cpu=cpu, graph_steps=steps, seed=seed)
            rungs.append(Rung(label=dtype, recipe=recipe, placement=f"{spec.name} {dtype}"))
    return rungs


def _static(spec: TargetSpec, cpu: str, seed: int, rule: str, exclude: tuple[str, ...]) -> Rung:
    recipe = static_recipe(spec.name, cpu, seed, plugins.load("ranges", rule)(), exclude)
    return Rung(label=f"static {rule}", recipe=recipe, placement=f"{spec.name} static")


def _dynamic(spec: TargetSpec, cpu: str, seed: int, exclude: tuple[str, ...]) -> Rung:
    steps = (Simplify(), Fuse(), QuantizeDynamic(exclude=exclude))
    recipe = Recipe(target=spec.name, cpu=cpu, graph_steps=steps, seed=seed)
    return Rung(label="dynamic", recipe=recipe, placement=f"{spec.name} dynamic")
