"""Time models against each other under one protocol."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from gossamer import plugins
from gossamer.cli.evaluate import open_any
from gossamer.errors import RecipeError
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.measure import Contender, measure_latency
from gossamer.report.document import plain
from gossamer.report.table import markdown_table
from gossamer.result import SCHEMA_VERSION
from gossamer.task import DataRequest, example


def bench(
    models: tuple[str, ...],
    *,
    runtimes: tuple[str, ...],
    batch: str,
    length: str,
    threads: int | None,
    seconds: float,
) -> dict[str, Any]:
    """The `bench --json` document; ratios are against the first model on the first runtime.

    Raises:
        InputError: A model or an option cannot be used.
        GossamerError: A model could not be run.
    """
    cores = threads or physical_cores()
    wanted = runtimes or installed()
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        contenders, sizes, first = [], {}, None
        for k, text in enumerate(models):
            for runtime in wanted:
                path, opened, own = open_any(text, runtime, Path(scratch) / f"{k}")
                if own != runtime and (runtimes or f"{text} on {own}" in sizes):
                    continue
                name = f"{text} on {own}"
                if name not in sizes:
                    sizes[name] = sum(
                        p.stat().st_size for p in path.parent.glob(f"{path.stem}*") if p.is_file()
                    )
                    contenders.append(Contender(name=name, runtime=own, path=path))
                first = first or opened
        if first is None:
            raise RecipeError("a model that one of the runtimes can open", ", ".join(models))
        rows = []
        for b in numbers(batch, "--batch"):
            for n in numbers(length, "--length"):
                sample = _sample(first, n)
                feed = example(first.inputs, sample, b, n)
                found = measure_latency(contenders, feed, threads=cores, seconds=seconds, batch=b)
                for c in contenders:
                    latency, compared = found.latencies[c.name], found.ratios[c.name]
                    rows.append(
                        {
                            "model": c.name.rsplit(" on ", 1)[0],
                            "runtime": c.runtime,
                            "batch": b,
                            "length": n,
                            "latency_ms": latency.milliseconds(),
                            "throughput": latency.throughput,
                            "peak_rss_bytes": latency.peak_rss_bytes,
                            "size_bytes": sizes[c.name],
                            "ratio": compared.value,
                            "ratio_interval": [compared.low, compared.high],
                            "noise_floor": found.noise_floor,
                        }
                    )
    document: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "environment": environment(cores).dump(),
            "rows": rows,
        }
    )
    return document


def installed() -> tuple[str, ...]:
    """Names of the runtimes that are installed, ONNX Runtime first."""
    found = [n for n in plugins.names("runtimes") if plugins.load("runtimes", n)().is_installed()]
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
