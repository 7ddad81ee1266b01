"""Plans of tiny graphs as text; GOSSAMER_GOLDEN=write writes the files anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gossamer.graph.place import Wish, place
from gossamer.plan import Plan
from gossamer.target import TargetSpec
from zoo import placed

FOLDER = Path(__file__).parent


TARGETS = [placed.ORT, placed.OPENVINO, placed.ORT_CUDA, placed.TENSORRT, placed.TORCH]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["conv_relu_conv", "residual", "block"])
def test_the_plan_is_the_one_on_file(name: str, target: TargetSpec) -> None:
    text = described(place(getattr(placed, name)(), target, Wish()))
    path = FOLDER / f"{name}.{target.name}.txt"
    if os.environ.get("GOSSAMER_GOLDEN") == "write":
        path.write_text(text)
    assert path.read_text() == text


def described(plan: Plan) -> str:
    """One line for each site, and what holds for all of them."""
    lines = [f"{plan.target} {plan.cpu} products added in {plan.weight.accumulator}"]
    for d in plan.decisions:
        parts = [f"{d.site} {d.op}: {d.reason}"]
        for field in ("inputs", "outputs", "fused", "through", "apart"):
            names = getattr(d, field)
            parts += [f"{field} {', '.join(names)}"] if names else []
        if d.weight is not None:
            parts.append(f"weight {d.weight}[{d.weight_axis}]")
        if d.bias is not None:
            parts.append(f"bias {d.bias}")
        lines.append("; ".join(parts))
    lines += [f"one scale: {', '.join(group)}" for group in plan.shared]
    if plan.symmetric:
        lines.append(f"zero point 0: {', '.join(plan.symmetric)}")
    if plan.smoothed:
        lines.append(f"smoothed: {', '.join(plan.smoothed)}")
    if plan.rescaled:
        lines.append(f"by what makes them: {', '.join(plan.rescaled)}")
    return "\n".join(lines) + "\n"
