"""Time models against each other under one protocol."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.evaluate import files_of, open_any
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.measure import Comparison, Contender, measure_latency
from gossamer.report.document import plain
from gossamer.report.table import markdown_table
from gossamer.result import SCHEMA_VERSION
from gossamer.source import FloatModel
from gossamer.task import DataRequest, example


def bench(
    models: Sequence[str | Path],
    *,
    runtimes: Sequence[str] = (),
    batch: str = "1",
    length: str = "128",
    threads: int | None = None,
    seconds: float = 2.0,
) -> dict[str, Any]:
    """The `bench --json` document; ratios are against the first model on the first runtime.

    Args:
        models: Model files, output folders of compress, or whatever compress takes.
        runtimes: Names of runtimes; empty is all defaults that are installed.
        batch: Batch sizes, as in `1,8`.
        length: Sequence lengths, as in `32,128`.
        threads: Threads of each session; None is the physical cores.
        seconds: Time for each model and point.

    Raises:
        InputError: A model or an option cannot be used.
        GossamerError: A model could not be run.
    """
    cores = threads or physical_cores()
    wanted = runtimes or installed()
    points = [(b, n) for b in numbers(batch, "--batch") for n in numbers(length, "--length")]
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        contenders, first = _contenders(
            [str(m) for m in models], wanted, Path(scratch), is_asked=bool(runtimes)
        )
        rows = []
        for b, n in points:
            feed = example(first.inputs, _sample(first, n), b, n)
            found = measure_latency(contenders, feed, threads=cores, seconds=seconds, batch=b)
            rows += [_row(c, found, batch=b, length=n) for c in contenders]
    document: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "environment": environment(cores).dump(),
            "rows": rows,
        }
    )
    return document


def _contenders(
    models: Sequence[str], runtimes: Sequence[str], scratch: Path, *, is_asked: bool
) -> tuple[list[Contender], FloatModel]:
    """Every model on every runtime that runs it, and what the first one opened to."""
    found: dict[str, Contender] = {}
    first = None
    for k, text in enumerate(models):
        for runtime in runtimes:
            path, opened, own = open_any(text, runtime, scratch / f"{k}")
            name = f"{text} on {own}"
            if name in found or (is_asked and own != runtime.replace("_", "-")):
                continue  # an OpenVINO file has one runtime, whatever was asked
            found[name] = Contender(name=name, runtime=own, path=path)
            first = first or opened
    if first is None:
        raise RecipeError(
            f"a model that {' or '.join(runtimes)} can open",
            ", ".join(models),
            "An .xml file runs with openvino alone.",
        )
    return list(found.values()), first


def _row(contender: Contender, found: Comparison, *, batch: int, length: int) -> dict[str, Any]:
    latency, compared = found.latencies[contender.name], found.ratios[contender.name]
    return {
        "model": contender.name.rsplit(" on ", 1)[0],
        "runtime": contender.runtime,
        "batch": batch,
        "length": length,
        "latency_ms": latency.milliseconds(),
        "throughput": latency.throughput,
        "peak_rss_bytes": latency.peak_rss_bytes,
        "size_bytes": sum(path.stat().st_size for path in files_of(contender.path)),
        "ratio": compared.value,
        "ratio_interval": [compared.low, compared.high],
        "noise_floor": found.noise_floor,
    }


def installed() -> tuple[str, ...]:
    """Names of the runtimes that are defaults and installed, ONNX Runtime first."""
    members = {name: plugins.load("runtimes", name)() for name in plugins.names("runtimes")}
    found = [n for n, runtime in members.items() if runtime.is_default and runtime.is_installed()]
    return tuple(sorted(found, key=lambda n: n != "ort"))


def numbers(text: str, option: str) -> list[int]:
    """The whole numbers in `1,8`.

    Raises:
        RecipeError: Something else, or a number below 1.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise RecipeError(f"whole numbers like 1,8 for {option}", repr(text))
    return found


def table(document: dict[str, Any]) -> str:
    """The rows for people."""
    lines = [
        [
            row["model"],
            row["runtime"],
            str(row["batch"]),
            str(row["length"]),
            f"{row['latency_ms']['median']:.3f}",
            f"{row['latency_ms']['p99']:.3f}",
            f"{row['throughput']:.1f}",
            f"{row['ratio']:.2f} [{row['ratio_interval'][0]:.2f}, {row['ratio_interval'][1]:.2f}]",
        ]
        for row in document["rows"]
    ]
    headers = ["model", "runtime", "batch", "length", "median ms", "p99 ms", "per second", "ratio"]
    return markdown_table(headers, lines, (*("left",) * 2, *("right",) * 6))


def _sample(model: Any, length: int) -> Any:
    from gossamer.tasks import choose

    data = choose("fidelity", model, {}).open(DataRequest(model=model, length=length))
    return next(iter(data.calibration.feeds()))
