"""A whole run of compress by the clock of users."""

from __future__ import annotations

from pathlib import Path

import pytest

import gossamer
from zoo import whole


@pytest.mark.slow
def test_the_time_budget_is_kept(tmp_path: Path) -> None:
    result = gossamer.compress(
        whole.classifier(tmp_path / "small.onnx"),
        data=whole.samples(tmp_path / "small.npz", 64),
        targets=["ort-cpu"],
        threads=1,
        max_drop="0.0001%",
        budget="15s",
        out=tmp_path / "out",
    )

    assert result.seconds < 20
