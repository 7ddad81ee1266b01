"""Scores of a model file on data that nothing was tuned on, in a process of its own.

    python benchmarks/judges.py FILE RUNTIME --pair NAME --real DIR
    python benchmarks/judges.py FILE RUNTIME --float ONNX --cache DIR

The first asks score.py of the real folder, the second measures the agreement with a float model.
Prints one JSON line: metric, score, and a number for each sample where the score is their mean.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

TIMEOUT = 900
LOWER_IS_BETTER = ("perplexity",)
MEANS = ("top1", "accuracy")  # metrics that are the mean over samples
RESAMPLES = 2000


def judge(file: Path, runtime: str, arguments: list[str]) -> dict[str, Any]:
    """The judge's verdict on a file: score and metric, or the reason why it has none."""
    command = [sys.executable, __file__, str(file.absolute()), runtime, *arguments]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"took more than {TIMEOUT} s"}
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"reason": lines[-1][:300] if lines else f"ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def loss(reference: dict[str, Any], found: dict[str, Any]) -> float:
    """How much worse `found` is than `reference`, in units of the score."""
    change = reference["score"] - found["score"]
    return float(-change if reference["metric"] in LOWER_IS_BETTER else change)


def interval(reference: dict[str, Any], found: dict[str, Any]) -> list[float] | None:
    """The paired 95 % interval of the loss, where every sample has its own number."""
    if not reference.get("samples") or not found.get("samples"):
        return None
    differences = np.array(reference["samples"]) - np.array(found["samples"])
    random = np.random.default_rng(0)
    rows = random.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[rows].mean(axis=1), (2.5, 97.5))
    return [round(float(low), 5), round(float(high), 5)]


def by_pair(file: Path, runtime: str, name: str, real: Path) -> dict[str, Any]:
    """The score that score.py gives, sample by sample where that is the same."""
    import kept  # not above: this module is imported by two names, and run by this one

    scorer = kept.scorer(real)
    _, data, score = scorer.PAIRS[name]
    opened = {"openvino": lambda f: _openvino(scorer, f), "ort": _ort, "torch-cpu": Torch}
    session = opened[runtime](file)
    first, *rest = data("test")
    metric = next(iter(score(session, iter([first]))))
    if metric not in MEANS:
        return {"metric": metric, "score": score(session, iter([first, *rest]))[metric]}
    samples = [score(session, iter([sample]))[metric] for sample in (first, *rest)]
    return {"metric": metric, "score": float(np.mean(samples)), "samples": samples}


def by_agreement(file: Path, runtime: str, reference: Path, cache: Path) -> dict[str, Any]:
    """The fidelity to a float ONNX model on the report split of made-up inputs."""
    from gossamer.measure.environment import physical_cores
    from gossamer.measure.isolate import Isolated
    from gossamer.measure.score import References, score, score_baseline
    from gossamer.sources import find
    from gossamer.task import DataRequest
    from gossamer.tasks import choose

    model = find(str(reference)).open(cache)
    task = choose("fidelity", model, {}, has_data=False)
    split = task.open(DataRequest(model=model)).report
    references = References(cache / "references")
    threads = physical_cores()
    with Isolated("ort", reference, threads=threads, precision="f32") as session:
        score_baseline(session, task, split, references)
    with Isolated(runtime, file, threads=threads) as session:
        found = score(session, task, split, references)
    return {"metric": task.metric_name, "score": found.value, "metrics": found.metrics}


def _openvino(scorer: Any, file: Path) -> Any:
    from gossamer.runtimes.openvino import package

    package()  # without its telemetry; score.py then finds it imported
    return scorer.OpenVino(file)


def _ort(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


class Torch:
    """The calls that score.py makes of a session, on PyTorch."""

    def __init__(self, file: Path) -> None:
        from gossamer.runtimes.torch_cpu import TorchCpu

        # its threads wait for each other after every kernel, which is slow beside other work
        self._session = TorchCpu().open(file, threads=1)

    def get_inputs(self) -> tuple[Any, ...]:
        return self._session.inputs

    def run(self, _: None, feed: dict[str, Any]) -> list[Any]:
        return list(self._session.run(feed).values())


def main() -> None:
    """Judge one file in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("runtime", choices=("ort", "openvino", "torch-cpu"))
    parser.add_argument("--pair")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--float", type=Path, dest="reference")
    parser.add_argument("--cache", type=Path)
    asked = parser.parse_args()
    if asked.pair:
        found = by_pair(asked.file, asked.runtime, asked.pair, asked.real)
    else:
        found = by_agreement(asked.file, asked.runtime, asked.reference, asked.cache)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
