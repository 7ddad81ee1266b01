"""The table of the README, from the rows in results/."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from cases import HERE, load_cases
from kept import fill

RUNTIME_NAMES = {"ort": "ORT", "openvino": "OpenVINO"}
HEAD = (
    *("model", "float32, ms", "gossamer, ms", "times faster", "score, float32 → gossamer"),
    *("best peer on ORT, ms", "best peer on OpenVINO, ms", "best peer helped by hand, ms"),
)
Row = dict[str, Any]


def write_table(readme: Path, results: Path = HERE / "results") -> None:
    """Replace what stands between the marks of the README."""
    fill(readme, render(load_results(results)))


def load_results(results: Path) -> list[Row]:
    """The rows that exist, in the order of cases.yaml."""
    paths = [results / f"{case.name}.json" for case in load_cases()]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def render(rows: list[Row]) -> str:
    """The Markdown between the marks."""
    if not rows:
        return ""
    lines = ["", f"| {' | '.join(HEAD)} |", "|---|" + "---:|" * (len(HEAD) - 1)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join([*lines, "", *_notes(rows), ""])


def _cells(row: Row) -> list[str]:
    both = row["comparison"]["overall"]
    low, high = both["float"]["speedup_interval"]
    metric = row["entries"][0]["score"]["metric"]
    return [
        row["name"],
        f"{_ms(both['float'])} ({RUNTIME_NAMES[both['float']['runtime']]})",
        f"{_ms(both['ours'])} ({RUNTIME_NAMES[both['ours']['runtime']]})",
        f"{both['float']['speedup']:.2f} ({low:.2f} – {high:.2f}){_noise(row)}",
        f"{metric} {both['float']['score']:.4g} → {both['ours']['score']:.4g}{_interval(row)}",
        _peer(row, "ort"),
        _peer(row, "openvino"),
        _peer(row, "overall", "helped"),
    ]


def _noise(row: Row) -> str:
    """A mark where the row's own noise could explain what was gained."""
    both = row["comparison"]["overall"]
    is_sure = both["float"]["speedup_interval"][0] > 1.0 + row["noise_floor"]
    return "" if is_sure or both["ours"]["who"] == "float32" else " ~"


def _interval(row: Row) -> str:
    """The paired interval of the gain in score, where the judge gives a score for each row."""
    ours = row["comparison"]["overall"]["ours"]
    keys = ("who", "runtime", "label")
    entry = next(e for e in row["entries"] if all(e[key] == ours[key] for key in keys))
    if not entry["loss_interval"]:
        return ""
    low, high = entry["loss_interval"]
    return f" ({0.0 - high:+.4f} to {0.0 - low:+.4f})"


def _peer(row: Row, scope: str, kind: str = "peer") -> str:
    if scope not in row["comparison"]:
        return "–"
    best = row["comparison"][scope][kind]
    if kind == "helped" and not best["who"].endswith("+"):
        return "–"
    who = "none beats float32" if best["who"] == "float32" else best["who"]
    return f"{_ms(best)} ({who})"


def _ms(cell: Row) -> str:
    return f"{cell['ms']:.3g}"


def _means(rows: list[Row]) -> list[str]:
    """Over the models with random weights, which differ in nothing but their architecture."""
    if not rows:
        return []
    means = [
        (_mean(rows, "overall", "float"), "the best float32 model"),
        (_mean(rows, "ort", "peer"), "the best peer on ORT"),
        (_mean(rows, "openvino", "peer"), "the best peer on OpenVINO"),
    ]
    told = ", ".join(f"{mean:.2f} times as fast as {rival}" for mean, rival in means)
    return [f"Geometric mean over {len(rows)} of the models with random weights: {told}."]


def _mean(rows: list[Row], scope: str, rival: str) -> float:
    return math.exp(
        sum(math.log(r["comparison"][scope][rival]["speedup"]) for r in rows) / len(rows)
    )


def _notes(rows: list[Row]) -> list[str]:
    environments = {
        f"{e['cpu']}, {e['threads']} threads, "
        + ", ".join(
            f"{name} {e['versions'][name]}"
            for name in ("onnxruntime", "openvino", "nncf", "torch")
            if name in e["versions"]
        )
        for e in (row["environment"] for row in rows)
    }
    return [
        "Batch 1, sequence length 128; all files of a row timed in turns, medians, 95 % intervals.",
        "`fidelity` is the agreement with the float model on made-up inputs (random weights); the",
        "other scores are of trained models on data that nothing was tuned on (ultraface: on the",
        "nine photographs that there are). Peers are ONNX Runtime's `quantize_static` and",
        "`quantize_dynamic` and NNCF on OpenVINO and on ONNX, each with its defaults and 128",
        "calibration rows; one counts where its file runs and scores within the row's tolerance.",
        "The same holds for gossamer: a file outside the tolerance counts as float32. ~ marks",
        "gains that noise could explain; behind scores stand paired 95 % intervals of the change,",
        "where the judge scores row by row. `hard_*` have outliers planted, or were trained, by",
        "`benchmarks/train_hard.py`. All numbers, refusals, commands: `benchmarks/results`.",
        "",
        *_means([row for row in rows if row["judge"] == "fidelity"]),
        "",
        *(f"Measured on {text}." for text in sorted(environments)),
    ]
