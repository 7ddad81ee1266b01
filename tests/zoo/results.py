"""Results as compress gives them, built by hand; the numbers are like those of a small ResNet."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from gossamer.measurement import QUANTILES
from gossamer.result import Candidate, Result

FLOAT_SCORE = 0.8135
FLOAT_MS = 0.294
STATIC = {
    "quantize-static": {
        "activation": "u8",
        "weight": "s8",
        "range": {"percentile": {"p": 99.99}},
        "exclude": [],
    }
}


def plan() -> tuple[tuple[str, str, str, str], ...]:
    """What happened at each site of the winner."""
    convs = [
        (f"/layer{i // 6 + 1}/{i % 6 // 2}/conv{i % 2 + 1}/Conv", "Conv", "quantized", "Conv Relu?")
        for i in range(18)
    ]
    return (
        ("/conv1/Conv", "Conv", "quantized", "Conv Relu?"),
        *convs,
        ("/layer2/0/Add", "Add", "quantized", "both inputs are int8 already"),
        ("/layer3/0/Add", "Add", "reverted:accuracy", "score 0.8121 without it, 0.8102 with it"),
        ("/avgpool/GlobalAveragePool", "GlobalAveragePool", "unprofitable", "64 elements < 4096"),
        ("/Flatten", "Flatten", "no rule", "ort-cpu moves it unchanged"),
        ("/linear/Gemm", "Gemm", "excluded", "asked for by the recipe: last layer"),
    )


def storage() -> tuple[str, ...]:
    """How each site of the winner is stored."""
    both = "u8 per-tensor, weight s8 per-channel"
    kinds = {"Conv": both, "Add": "u8 per-tensor"}
    return tuple(kinds[op] if reason == "quantized" else "" for _, op, reason, _ in plan())


def quantiles(ms: float) -> tuple[float, ...]:
    """Of calls that mostly take about the median, some more, and one much more."""
    shares = (i / (QUANTILES - 1) for i in range(QUANTILES - 1))
    return (*(ms * (1 + 0.117 * (2 * share - 1) ** 3) for share in shares), ms * 1.6)


def recipe(target: str = "ort-cpu", *, steps: bool = True, precision: str = "default") -> Any:
    """A recipe as plain data."""
    return {
        "target": target,
        "cpu": "portable",
        "precision": precision,
        "seed": 0,
        "graph-steps": [STATIC] if steps else [],
    }


def measured(
    label: str, runtime: str, ms: float, score: float, size: int, **more: Any
) -> Candidate:
    """A candidate with everything that follows from its latency and score."""
    drop = FLOAT_SCORE - score
    speedup = FLOAT_MS / ms
    fields: dict[str, Any] = {
        "id": hashlib.sha256(f"{label} {runtime}".encode()).hexdigest()[:12],
        "status": "ok",
        "runtime": runtime,
        "target": f"{runtime}-cpu",
        "label": label,
        "recipe": recipe(f"{runtime}-cpu"),
        "score": score,
        "metrics": {"accuracy": score, "top5-accuracy": min(1.0, score + 0.17)},
        "drop": drop,
        "relative_drop": drop / FLOAT_SCORE,
        "within_budget": drop <= 0.005 * FLOAT_SCORE,
        "latency_ms": {"median": ms, "p90": ms * 1.06, "p99": ms * 1.31, "n": 4096},
        "latency_quantiles": quantiles(ms),
        "speedup": speedup,
        "speedup_interval": (speedup * 0.985, speedup * 1.017),
        "same_runtime_speedup": speedup * 1.04,
        "noise_floor": 0.012,
        "throughput": 1000 / ms,
        "size_bytes": size,
        "peak_rss_bytes": 61_000_000 + 3 * size,
        "path": f"candidates/{label.replace(' ', '-')}",
        "files": {"model.onnx": "0" * 64},
    }
    return Candidate(**{**fields, **more})


def unmeasured(label: str, runtime: str, status: Any, reason: str) -> Candidate:
    """A candidate that never gave a number."""
    return Candidate(
        id=hashlib.sha256(f"{label} {runtime}".encode()).hexdigest()[:12],
        status=status,
        reason=reason,
        runtime=runtime,
        target=f"{runtime}-cpu",
        label=label,
        recipe=recipe(f"{runtime}-cpu"),
    )


def baseline() -> Candidate:
    """The fastest float32 model."""
    return measured(
        "float32",
        "openvino",
        FLOAT_MS,
        FLOAT_SCORE,
        1_091_000,
        id="00000000000f",
        recipe=recipe("openvino-cpu", steps=False, precision="f32"),
        speedup=1.0,
        speedup_interval=(1.0, 1.0),
        report_score=0.8130,
        files={"model.xml": "1" * 64, "model.bin": "2" * 64},
    )


def winner() -> Candidate:
    """An int8 model for ORT with a plan."""
    return measured(
        "static percentile",
        "ort",
        0.101,
        0.8130,
        291_000,
        id="00000000000a",
        path="model",
        plan=plan(),
        storage=storage(),
        report_score=0.8125,
        report_drop=0.0005,
        report_interval=(-0.0040, 0.0050),
    )


def sample(**changes: Any) -> Result:
    """A result whose budget was met, with two runtimes, failures and a skipped candidate."""
    candidates = (
        baseline(),
        measured(
            "float32",
            "ort",
            0.305,
            FLOAT_SCORE,
            1_093_000,
            recipe=recipe(steps=False, precision="f32"),
        ),
        winner(),
        measured("static min-max", "ort", 0.102, 0.8105, 291_000),
        measured("static entropy", "ort", 0.109, 0.8120, 291_000),
        measured("static min-max", "openvino", 0.121, 0.8150, 302_000),
        measured("bf16", "openvino", 0.183, 0.8135, 560_000),
        measured("dynamic", "ort", 0.412, 0.8090, 288_000),
        measured("static per-tensor", "ort", 0.098, 0.2400, 283_000),
        unmeasured(
            "static mse",
            "openvino",
            "failed",
            "needed a graph that OpenVINO compiles; received 'Check failed: axis'.",
        ),
        unmeasured("int8 head", "ort", "skipped", "the time was up"),
    )
    fields: dict[str, Any] = {
        "out": Path("gossamer-out"),
        "verdict": "met",
        "reason": "The budget holds on the search split and the report split agrees.",
        "model": {
            "kind": "onnx",
            "origin": "resnet20.onnx",
            "digest": "9f" * 32,
            "opset": 18,
            "parameters": 272_474,
        },
        "task": {
            "name": "classification",
            "metric": "accuracy",
            "higher_is_better": True,
            "synthetic": False,
            "splits": {"calibration": 128, "search": 936, "report": 936},
            "dataset": "cifar10",
            "remarks": [],
        },
        "max_drop": "0.5%",
        "environment": {
            "cpu": "AMD EPYC 9V74",
            "flags": ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"],
            "cores": 2,
            "threads": 2,
            "versions": {"onnxruntime": "1.31.1", "openvino": "2026.4.1", "numpy": "2.4.6"},
        },
        "calibration": {
            "samples": 128,
            "seconds": 1.31,
            "plain_seconds": 1.02,
            "peak_rss_bytes": 143_000_000,
            "plain_rss_bytes": 118_000_000,
        },
        "baseline": candidates[0],
        "winner": candidates[2],
        "candidates": candidates,
        "seconds": 97.3,
        "batch": 1,
        "length": None,
        "command": "gossamer compress resnet20.onnx --task classification --data test "
        "--max-drop 0.5% --threads 2",
        "sensitivity": {
            site: 38.5 - 0.7 * i for i, (site, op, *_) in enumerate(plan()) if op == "Conv"
        },
    }
    return Result(**{**fields, **changes})


def float_win() -> Result:
    """Nothing was faster than float32."""
    best = replace(baseline(), path="model", report_drop=0.0, report_interval=(0.0, 0.0))
    return sample(
        winner=best, baseline=best, candidates=(best,), reason="Nothing faster was found."
    )


def best_effort() -> Result:
    """The only quantized model lost too much, on made-up inputs."""
    float_model = replace(baseline(), score=1.0, report_score=1.0)
    lossy = replace(
        winner(),
        score=0.91,
        drop=0.09,
        relative_drop=0.09,
        within_budget=False,
        report_score=0.905,
        report_drop=0.095,
        report_interval=(0.088, 0.102),
        metrics={"fidelity": 0.91, "sqnr-db": 10.4},
    )
    return sample(
        verdict="best_effort",
        reason="No candidate that is faster holds the budget.",
        baseline=float_model,
        winner=lossy,
        candidates=(float_model, lossy),
        max_drop="1%",
        task={
            "name": "fidelity",
            "metric": "fidelity",
            "higher_is_better": True,
            "synthetic": True,
            "splits": {"calibration": 128, "search": 64, "report": 64},
        },
    )


def failed() -> Result:
    """Nothing ran at all."""
    return sample(
        verdict="failed",
        reason="Every candidate failed.",
        baseline=None,
        winner=None,
        calibration=None,
        candidates=(),
    )


def searched(count: int = 40) -> Result:
    """What a search for low latency and size found among many."""
    found = sample()
    drawn = tuple(
        measured(
            f"ranges percentile, p {99 + i / count:.4f}, weight-bits {4 + i % 5}",
            ("ort", "openvino")[i % 2],
            0.09 + 0.004 * (i * 7 % count),
            0.8135 - 0.0008 * (i * 11 % 13),
            150_000 + 35_000 * (i % 5),
        )
        for i in range(count)
    )
    front = tuple(c.id for c in drawn[:3])
    return replace(
        found,
        candidates=(*found.candidates, *drawn),
        objectives=("latency", "size"),
        front=front,
    )


RESULTS = {"met": sample, "float win": float_win, "best effort": best_effort, "failed": failed}
