"""A setting of a sweep: one way to quantize a model, and to run it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from gossamer.errors import RecipeError

Approach = Literal["static", "dynamic"]
Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy", "mse")
LEVELS = (0, 1, 2, 99)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranges:
    """How the ranges of a static setting are found.

    Attributes:
        method: Which rule chooses them.
        samples: Of the calibration data.
        percentile: In percent, of `percentile`; None is the rule's own.
        average: Weight of the newest sample, of `minmax` with a moving average; None is without.
    """

    method: Method = "minmax"
    samples: int = 128
    percentile: float | None = None
    average: float | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise RecipeError(
                "at least one calibration sample",
                str(self.samples),
                "128 is the default of num_calibration_samples.",
            )
        if self.percentile is not None and not 50 < self.percentile <= 100:
            raise RecipeError(
                "a percentile above 50, up to 100", repr(self.percentile), "99.999 is usual."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting; what its approach does not look at is None, so that equal settings are equal.

    Attributes:
        framework: What runs it: `onnxruntime`, `pytorch`, `openvino`, or the name of a target.
        approach: None is the float model as it came.
        operators: Types of operators to quantize, all of them; None is what pays on the target.
        exclusion: Nodes that stay in float, as `gossamer.graph.select` finds them.
        per_channel: Whether each output channel of a weight has a scale; None is the target's way.
        reduce_range: Whether weights have 7 bits.
        ranges: Of a static setting; None is what compress begins with.
        opset: Asked for.
        level: Of the optimisation in front of quantization; None and 2 or more fuse transformers.
        threads: Of the runtime; None is one for each physical core.
        aware_training: Whether training with quantization is asked for.
    """

    framework: str = "onnxruntime"
    approach: Approach | None = None
    operators: tuple[str, ...] | None = None
    exclusion: tuple[str, ...] | None = None
    per_channel: bool | None = None
    reduce_range: bool | None = None
    ranges: Ranges | None = None
    opset: int | None = None
    level: int | None = None
    threads: int | None = None
    aware_training: bool = False

    def __post_init__(self) -> None:
        if self.level is not None and self.level not in LEVELS:
            raise RecipeError(
                f"an optimization_level among {', '.join(map(str, LEVELS))}",
                repr(self.level),
                "Below 2 the graph is quantized as exported, from 2 on with operators joined.",
            )
        if self.threads is not None and self.threads < 1:
            raise RecipeError(
                "at least one thread",
                repr(self.threads),
                "Leave intra_op_num_threads out for one for each physical core.",
            )

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.approach is None and not self.aware_training

    def collapsed(self) -> Setting:
        """The same setting without what its approach does not look at."""
        if self.is_float:
            return Setting(framework=self.framework, opset=self.opset, threads=self.threads)
        if self.approach == "dynamic":
            return dataclasses.replace(self, ranges=None)
        return self

    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the setting."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
