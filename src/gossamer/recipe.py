"""A recipe: what is done to a model, as data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.runtime import Precision
from gossamer.step import GraphStep, ModuleStep

KEYS: dict[str, type] = {
    "target": str,
    "cpu": str,
    "precision": str,
    "seed": int,
    "module-steps": list,
    "graph-steps": list,
}
PRECISIONS = ("default", "f32")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Steps for one target. Going back from the graph to torch cannot be written down.

    Attributes:
        target: Public name of the target.
        cpu: Weakest CPU level on which the result must be right.
        module_steps: Applied in order to the torch module, before it is exported.
        graph_steps: Applied in order to the float graph. Empty means the float baseline.
        precision: Lowest float type the runtime may use on its own: `f32` or `default`.
        seed: Seed of everything random.
    """

    target: str
    cpu: str = "portable"
    module_steps: tuple[ModuleStep, ...] = ()
    graph_steps: tuple[GraphStep, ...] = ()
    precision: Precision = "default"
    seed: int = 0

    def dump(self) -> dict[str, Any]:
        """The recipe as plain data, every default written out."""
        module_steps = [plugins.dump(step) for step in self.module_steps]
        return {
            "target": self.target,
            "cpu": self.cpu,
            "precision": self.precision,
            "seed": self.seed,
            **({"module-steps": module_steps} if module_steps else {}),
            "graph-steps": [plugins.dump(step) for step in self.graph_steps],
        }

    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the recipe."""
        text = json.dumps(self.dump(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @classmethod
    def parse(cls, value: object) -> Recipe:
        """The recipe that plain data describes.

        Raises:
            RecipeError: Unknown keys, steps or fields; the message lists the real ones.
        """
        if not isinstance(value, dict) or "target" not in value:
            raise RecipeError(
                "a mapping with the key target",
                repr(value)[:80],
                "compress writes such recipes into recipe.yaml of its output folder.",
            )
        for key in value:
            if str(key).replace("_", "-") not in KEYS:
                raise plugins.unknown("a key of a recipe", str(key), tuple(KEYS))
        plain = {str(k).replace("_", "-"): v for k, v in value.items()}
        for key, raw in plain.items():
            if not isinstance(raw, KEYS[key]) or isinstance(raw, bool):
                raise RecipeError(
                    f"{KEYS[key].__name__} for {key}",
                    repr(raw),
                    f"The keys of a recipe are {', '.join(KEYS)}.",
                )
        precision = plain.get("precision", "default")
        if precision not in PRECISIONS:
            raise plugins.unknown("a precision of a recipe", precision, PRECISIONS)
        return cls(
            target=plain["target"].replace("_", "-"),
            cpu=plain.get("cpu", "portable"),
            precision=precision,
            seed=plain.get("seed", 0),
            module_steps=tuple(
                plugins.parse("module-steps", s) for s in plain.get("module-steps", ())
            ),
            graph_steps=tuple(plugins.parse("steps", s) for s in plain.get("graph-steps", ())),
        )
