"""Several processes train the same student as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch
SCRIPT = Path(__file__).with_name("distill_process.py")


def trained(processes: int, tmp_path: Path) -> list[dict[str, Any]]:
    """What each of the processes came to."""
    file = tmp_path / f"group{processes}"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(processes), str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(processes)
    ]
    outputs = [child.communicate(timeout=120) for child in children]
    assert [c.returncode for c in children] == [0] * processes, outputs
    return [json.loads(out.splitlines()[-1]) for out, _ in outputs]


@pytest.mark.skipif(sys.platform != "linux", reason="gloo is told the name of Linux's loopback")
def test_two_processes_train_the_student_that_one_trains(tmp_path: Path) -> None:
    (one,) = trained(1, tmp_path)
    two = trained(2, tmp_path)

    for each in two:
        # in double precision: sums in another order, magnified a little by six steps of Adam
        assert np.allclose(each["losses"], one["losses"], rtol=1e-9)
        for name, weights in one["weights"].items():
            assert np.allclose(each["weights"][name], weights, atol=1e-8), name
    assert one["losses"][-1] < one["losses"][0]
    assert any(name.startswith("distillation_features") for name in one["weights"])
