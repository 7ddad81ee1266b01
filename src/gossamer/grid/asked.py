"""One combination of values of a run as a Setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.plugins import unknown
from gossamer.setting import METHODS, Ranges, Setting

TARGETS = {"onnxruntime": "ort-cpu", "pytorch": "torch-cpu", "openvino": "openvino-cpu"}
APPROACHES = ("static", "dynamic")
NONE = ("none", "None", "")
AVERAGE = 0.01  # Optimum's weight of the newest sample
# what counts for a setting, by its approach
OF_ALL = ("framework", "framework_args.opset", "framework_args.intra_op_num_threads")
OF_STATIC = "calibration."


def setting(values: Mapping[str, Any]) -> tuple[Setting, dict[str, Any]]:
    """The setting, and its values with None for those that do not count.

    Raises:
        RecipeError: A value that does not exist.
    """
    approach = values.get("quantization_approach")
    approach = None if approach in NONE or values.get("apply_quantization") is False else approach
    if approach is not None and approach not in APPROACHES:
        raise unknown("a quantization_approach", str(approach), (*APPROACHES, "none"))
    framework = str(values.get("framework", "onnxruntime")).replace("_", "-")
    known = (*TARGETS, *plugins.names("targets"))
    if framework not in known:
        raise unknown("a framework", framework, known)
    operators, exclusion = values.get("operators_to_quantize"), values.get("node_exclusion")
    found = Setting(
        framework=framework,
        approach=approach,
        operators=None if operators is None else tuple(map(str, operators)),
        exclusion=tuple(map(str, exclusion or ())),
        per_channel=values.get("per_channel"),
        reduce_range=bool(values.get("reduce_range")),
        ranges=_ranges(values),
        opset=values.get("framework_args.opset"),
        level=values.get("framework_args.optimization_level"),
        threads=values.get("framework_args.intra_op_num_threads"),
        aware_training=bool(values.get("aware_training")),
    ).collapsed()
    counted = {key: value if counts(key, found) else None for key, value in values.items()}
    counted["quantization_approach"] = found.approach
    if found.is_float and "apply_quantization" in values:
        counted["apply_quantization"] = False
    return found, counted


def counts(key: str, found: Setting) -> bool:
    """Whether a value of the file says anything about a setting."""
    if key in OF_ALL or (not found.is_float and not key.startswith(OF_STATIC)):
        return True
    if key == "calibration.calibration_histogram_percentile":
        return found.ranges is not None and found.ranges.percentile is not None
    return found.approach == "static"


def _ranges(values: Mapping[str, Any]) -> Ranges | None:
    own = {k.split(".")[1]: v for k, v in values.items() if k.startswith(OF_STATIC)}
    if all(value is None for value in own.values()):
        return None
    named = str(own.get("method") or "minmax").replace("-", "").replace("_", "")
    method = next((known for known in METHODS if known == named), None)
    if method is None:
        raise unknown("a calibration method", named, METHODS)
    average = own.get("calibration_moving_average_constant")
    if not own.get("calibration_moving_average"):
        average = None
    elif method != "minmax":
        raise RecipeError(
            "the method minmax for calibration_moving_average",
            str(method),
            "Only extremes are averaged over samples.",
        )
    else:
        average = AVERAGE if average is None else float(average)
    percentile = own.get("calibration_histogram_percentile")
    return Ranges(
        method=method,
        samples=own.get("num_calibration_samples") or Ranges().samples,
        percentile=float(percentile) if percentile is not None and method == "percentile" else None,
        average=average,
    )
