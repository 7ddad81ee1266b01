"""What each option of quantize-static does for accuracy, alone and together, in ONNX Runtime.

    python -m benchmarks.algorithms resnet20 hard_minilm --real ../shared/real
    python -m benchmarks.algorithms resnet20 --bits 4
    python -m benchmarks.algorithms --table

One JSON line for each model, number of weight bits and set of options, which also goes into
results/algorithms.json, where it replaces what was measured of the same before; `--table` writes
the tables of docs/algorithms.md from that file. Files are made for the CPU level `portable` from
128 calibration rows, and judged on test data that no calibration saw: the score by score.py of the
folder of real models, and the noise in the outputs beside those of the float model. Models with
random weights have noise as data and no score.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from benchmarks import kept, train_hard

from gossamer import plugins
from gossamer.graph.steps.fuse import Fuse
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.graph.steps.simplify import Simplify
from gossamer.measure.environment import environment
from gossamer.progress import Silent
from gossamer.recipe import Recipe
from gossamer.run import calibrate, run
from gossamer.runtime import Feed
from gossamer.search.ladder import RULES
from gossamer.source import FloatModel
from gossamer.sources import find
from gossamer.statistics import Statistics
from gossamer.step import Calibration
from gossamer.task import Samples, Split

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results" / "algorithms.json", HERE.parent / "docs" / "algorithms.md"
SAME = ("model", "bits", "options")
TARGET, SAMPLES, TESTS_OF_NOISE, THREADS = "ort-cpu", 128, 32, 2
# the model below the folder of real ones, if it is not a hard one, and whose data it is judged with
MODELS = {
    "resnet20": ("cifar10/resnet20.onnx", "resnet20"),
    "resnet56": ("cifar10/resnet56.onnx", "resnet56"),
    "squeezenet": ("imagenet_sample/squeezenet.onnx", "squeezenet"),
    "minilm_sst2": ("minilm_sst2", "minilm_sst2"),
    "hard_depthwise": ("hard:depthwise", "resnet20"),
    "hard_resnet20": ("hard:resnet20", "resnet20"),
    "hard_minilm": ("hard:minilm", "minilm_sst2"),
}
NOTHING: dict[str, Any] = {"smoothing": "none", "correction": "none"}
OPTIONS: dict[str, dict[str, Any]] = {
    "none": NOTHING,
    "smoothquant": NOTHING | {"smoothing": "smoothquant"},
    "cross-layer": NOTHING | {"smoothing": "cross-layer"},
    "analytic": NOTHING | {"correction": "analytic"},
    "empirical": NOTHING | {"correction": "empirical"},
    "adaround": NOTHING | {"rounding": "adaround"},
    "default": {},
    "all": {"rounding": "adaround", "correction": "empirical"},
}
RANGES = {name: {"ranges": name} for name in RULES}
SETS = OPTIONS | RANGES
TABLES: dict[str, dict[str, dict[str, Any]]] = {"options": OPTIONS, "ranges": RANGES}
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model and its data.

    Attributes:
        name: Of the row.
        model: Opened.
        calibration: Its rows.
        judge: score.py and the name of what it judges; None for models with random weights.
    """

    name: str
    model: FloatModel
    calibration: tuple[Feed, ...]
    judge: tuple[Any, str] | None

    def judged(self, file: Path) -> tuple[list[np.ndarray], Row]:
        """All outputs of all test rows, and the score."""
        session = Recorder(file)
        if self.judge is None:
            for feed in noise(self.model, range(SAMPLES, SAMPLES + TESTS_OF_NOISE)):
                session.run(None, feed)
            return session.outputs, {"metric": None, "score": None}
        scorer, pair = self.judge
        _, data, score = scorer.PAIRS[pair]
        metric, value = next(iter(score(session, data("test")).items()))
        return session.outputs, {"metric": metric, "score": value}


class Recorder:
    """A session that keeps what it gave."""

    def __init__(self, file: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, THREADS
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        self.get_inputs = self._session.get_inputs
        self.outputs: list[np.ndarray] = []

    def run(self, names: None, feed: Feed) -> list[np.ndarray]:
        found: list[np.ndarray] = self._session.run(names, feed)
        self.outputs.append(np.concatenate([x.ravel() for x in found]))
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows(Samples):
    """Calibration rows, all in memory."""

    feeds: tuple[Feed, ...]

    def __len__(self) -> int:
        return len(self.feeds)

    def feed(self, index: int) -> Feed:
        return self.feeds[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--real", type=Path, default=train_hard.REAL)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    for name in asked.models:
        with tempfile.TemporaryDirectory() as folder:
            subject = opened(name, asked.real, Path(folder))
            for row in measured(subject, asked.bits, asked.only, Path(folder)):
                kept.keep(RESULTS, row, SAME)
    if asked.table:
        rows = json.loads(RESULTS.read_text())
        for name, sets in TABLES.items():
            kept.fill(PAGE, render(rows, list(sets)), name)


def opened(name: str, real: Path, folder: Path) -> Subject:
    """The model of a row; one that is neither real nor hard is an architecture of `models`."""
    if name not in MODELS:
        model = find(f"benchmarks.models:{name}").open(folder)
        rows = tuple(noise(model, range(SAMPLES)))
        return Subject(name=name, model=model, calibration=rows, judge=None)
    source, pair = MODELS[name]
    hard = source.removeprefix("hard:")
    path = train_hard.made(hard, real) if hard != source else real / source
    model = find(str(path)).open(folder)
    scorer = kept.scorer(real)
    _, data, _ = scorer.PAIRS[pair]
    found = [x for x, _ in data("calibration")]
    chosen = (found[i] for i in np.linspace(0, len(found) - 1, SAMPLES).astype(int))
    names = [t.name for t in model.inputs]
    rows = tuple({n: x[n] if isinstance(x, dict) else x for n in names} for x in chosen)
    return Subject(name=name, model=model, calibration=rows, judge=(scorer, pair))


def noise(model: FloatModel, seeds: Iterable[int]) -> Iterator[Feed]:
    """Images of noise."""
    (image,) = model.inputs
    shape = [d if isinstance(d, int) else 1 for d in image.shape or ()]
    for seed in seeds:
        random = np.random.default_rng(seed)
        yield {image.name: random.standard_normal(shape, np.float32)}


def measured(subject: Subject, bits: int, names: Iterable[str], folder: Path) -> Iterator[Row]:
    """One row for each set of options."""
    rows = Rows(feeds=subject.calibration)
    split = Split(samples=rows, indices=tuple(range(len(rows))))
    statistics = calibrate(
        subject.model, {TARGET: ()}, split, cpu="portable", threads=THREADS, seed=0,
        progress=Silent(),
    )  # fmt: skip
    reference, score = subject.judged(subject.model.path)
    signal = sum(float(np.square(x, dtype=np.float64).sum()) for x in reference)
    for name in names:
        begin = time.perf_counter()
        file = quantized(subject.model, statistics, split, SETS[name], bits, folder / name)
        seconds = time.perf_counter() - begin
        outputs, found = subject.judged(file)
        wrong = sum(
            float(np.square(a - b, dtype=np.float64).sum())
            for a, b in zip(reference, outputs, strict=True)
        )
        yield {
            "model": subject.name,
            "bits": bits,
            "options": name,
            "metric": found["metric"],
            "score": found["score"],
            "float_score": score["score"],
            "rows": len(outputs),
            "sqnr_db": round(10 * np.log10(signal / wrong), 2),
            "seconds": round(seconds, 2),
            "calibration_seconds": round(statistics.seconds, 2),
            "plain_seconds": round(statistics.plain_seconds, 2),
            "environment": environment().dump(),
        }


def quantized(
    model: FloatModel,
    statistics: Statistics,
    split: Split,
    options: dict[str, Any],
    bits: int,
    folder: Path,
) -> Path:
    """The file of one set of options."""
    step = plugins.parse("steps", {"quantize-static": options | {"weight-bits": bits}})
    assert isinstance(step, QuantizeStatic)
    recipe = Recipe(target=TARGET, graph_steps=(Simplify(), Fuse(), step))
    known = Calibration(statistics=lambda _: statistics, feeds=split.feeds)
    artifact = run(model, recipe, folder, known, Silent())
    return artifact.folder / artifact.files[0]


def render(rows: list[Row], names: list[str]) -> str:
    """A Markdown table: a line for each model and number of bits, a column for each set."""
    known = {(r["model"], r["bits"], r["options"]): r for r in rows if r["options"] in names}
    lines = [
        f"| model | weight bits | float32 | {' | '.join(names)} |",
        "|---|---:|---:|" + "---:|" * len(names),
    ]
    for model, bits in sorted({(model, bits) for model, bits, _ in known}, key=_place):
        found = [known.get((model, bits, name)) for name in names]
        score = next(r["float_score"] for r in found if r is not None)
        cells = [model, str(bits), "–" if score is None else f"{100 * score:.1f}"]
        lines.append(f"| {' | '.join([*cells, *map(_cell, found)])} |")
    return "\n".join([*lines, ""])


def _place(key: tuple[str, int]) -> tuple[int, str, int]:
    """Real models first, more bits first."""
    model, bits = key
    return list(MODELS).index(model) if model in MODELS else len(MODELS), model, -bits


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    noise_power = f"{row['sqnr_db']:.1f} dB"
    return noise_power if row["score"] is None else f"{100 * row['score']:.1f}, {noise_power}"


if __name__ == "__main__":
    main()
