"""What every module step must be, those of third parties included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gossamer import plugins
from gossamer.step import ModuleStep
from zoo import encoders

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(params=plugins.names("module-steps"))
def step(request: pytest.FixtureRequest) -> ModuleStep:
    found: ModuleStep = plugins.parse("module-steps", request.param)
    return found


def test_it_is_a_value_that_survives_its_yaml_form(step: ModuleStep) -> None:
    assert plugins.parse("module-steps", plugins.dump(step)) == step


def test_it_returns_a_module_in_eval_mode_that_takes_the_same_inputs(
    step: ModuleStep, tmp_path: Path
) -> None:
    found = step.apply(encoders.make("Bert"), encoders.context(tmp_path))

    assert not any(module.training for module in found.modules())
    assert torch.isfinite(encoders.logits(found)).all()
    assert encoders.logits(found).shape == (4, 2)
