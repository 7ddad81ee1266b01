"""Time models against each other under one protocol."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.evaluate import files_of, is_file, open_any
from gossamer.measure import modules
from gossamer.measure.cold import cold_latencies
from gossamer.measure.environment import environment, physical_cores
from gossamer.measure.load import ARRIVALS, Arrivals, Load, LoadComparison, measure_load
from gossamer.measure.measure import Comparison, Contender, measure_latency
from gossamer.measure.operators import operator_times
from gossamer.measure.placing import places
from gossamer.measurement import Latency, Ratio
from gossamer.report.document import plain
from gossamer.result import SCHEMA_VERSION
from gossamer.runtime import Feed
from gossamer.source import FloatModel
from gossamer.task import DataRequest, example

RATES = (0.1, 10_000.0)  # requests per second
SLOWEST = 10  # nodes that a document names


def bench(  # noqa: PLR0913 - the options of the command line, by the same names
    models: Sequence[str | Path],
    *,
    runtimes: Sequence[str] = (),
    batch: str = "1",
    length: str = "128",
    threads: int | None = None,
    seconds: float = 2.0,
    instances: int | None = None,
    cores_per_instance: int | None = None,
    parallel: bool = False,
    rate: str | None = None,
    arrivals: Arrivals = "poisson",
    cold_starts: int = 0,
    operators: bool = False,
) -> dict[str, Any]:
    """The `bench --json` document; ratios are against the first model on the first runtime.

    One process answers one call after the other, unless `instances`, `cores_per_instance`,
    `parallel` or `rate` asks for load; then the ratios are of throughputs, or at a rate of
    latencies, which count from the time at which a request was due.

    Args:
        models: Model files, output folders of compress, or whatever compress takes.
        runtimes: Names of runtimes; empty is all defaults that are installed.
        batch: Batch sizes, as in `1,8`.
        length: Sequence lengths, as in `32,128`.
        threads: Threads of each session; None is the physical cores.
        seconds: Time for each model and point.
        instances: Processes that run at the same time, each on cores of its own.
        cores_per_instance: Their cores; None shares out those that are there.
        parallel: Whether each process runs sessions side by side, as its runtime answers most
            requests per second.
        rate: Requests per second, as in `50,100`; None asks again after each answer.
        arrivals: Requests come at random times, or at even distances.
        cold_starts: How often the time from the start of a process to its first answer is taken.
        operators: Whether the document says what each operator takes, by the runtimes' own clocks.

    Raises:
        InputError: A model or an option cannot be used.
        GossamerError: A model could not be run.
    """
    loads = _loads((instances, cores_per_instance, threads), rate, arrivals, is_parallel=parallel)
    points = [(b, n) for b in numbers(batch, "--batch") for n in numbers(length, "--length")]
    if cold_starts < 0:
        hint = "Leave --cold-starts out to take none."
        raise RecipeError("a number of cold starts of at least 0", repr(cold_starts), hint)
    asked = _Asked(
        runtimes=tuple(runtimes),
        threads=threads or physical_cores(),
        seconds=seconds,
        loads=loads,
        cold_starts=cold_starts,
        operators=operators,
    )
    top = {"schema_version": SCHEMA_VERSION, "environment": environment(asked.threads).dump()}
    document: dict[str, Any] = plain(top | _found([str(m) for m in models], points, asked))
    return document


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What is measured of every model at every point."""

    runtimes: tuple[str, ...]
    threads: int
    seconds: float
    loads: tuple[Load | None, ...]
    cold_starts: int
    operators: bool


def _found(
    models: Sequence[str], points: Sequence[tuple[int, int]], asked: _Asked
) -> dict[str, Any]:
    """A row for every point, load and contender, and what operators take if that was asked."""
    rows, operators = [], []
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        contenders, first = _contenders(models, asked.runtimes, Path(scratch))
        for batch, length in points:
            feed = example(first.inputs, _sample(first, length), batch, length)
            cold = cold_latencies(contenders, feed, threads=asked.threads, starts=asked.cold_starts)
            for load in asked.loads:
                told = _measured(contenders, feed, load, asked, batch)
                rows += [
                    _row(c, (batch, length), told[c.name], cold.get(c.name)) for c in contenders
                ]
            if asked.operators:
                operators += [_operators(c, feed, asked, (batch, length)) for c in contenders]
    return {"rows": rows, "operators": operators} if asked.operators else {"rows": rows}


def _operators(
    contender: Contender, feed: Feed, asked: _Asked, point: tuple[int, int]
) -> dict[str, Any]:
    """What the operators of one model take: summed by type, and the slowest nodes."""
    times = operator_times(contender, feed, threads=asked.threads)
    total = sum(t.seconds for t in times)
    whole = total or 1.0  # clocks that count microseconds see nothing of a tiny model
    by_type = defaultdict(list)
    for t in times:
        by_type[t.operator].append(t.seconds)
    sums = sorted(((sum(own), len(own), name) for name, own in by_type.items()), reverse=True)
    return {
        **_named(contender, point),
        "total_ms": total * 1000,
        "types": [
            {"operator": name, "nodes": nodes, "ms": seconds * 1000, "share": seconds / whole}
            for seconds, nodes, name in sums
        ],
        "slowest": [
            {
                "name": t.name,
                "operator": t.operator,
                "kernel": t.kernel,
                "ms": t.seconds * 1000,
                "share": t.seconds / whole,
            }
            for t in times[:SLOWEST]
        ],
    }


def _measured(
    contenders: Sequence[Contender], feed: Feed, load: Load | None, asked: _Asked, batch: int
) -> dict[str, dict[str, Any]]:
    """What the rows of one load say of every contender, by name."""
    if load is None:
        found = measure_latency(
            contenders, feed, threads=asked.threads, seconds=asked.seconds, batch=batch
        )
        return {c.name: _answers(c, found) for c in contenders}
    borne = measure_load(contenders, feed, load, seconds=asked.seconds, batch=batch)
    return {c.name: _borne(c, borne, load) for c in contenders}


def _loads(
    cores: tuple[int | None, int | None, int | None],
    rate: str | None,
    arrivals: str,
    *,
    is_parallel: bool,
) -> tuple[Load | None, ...]:
    """The loads of each point; None where one process answers one call after the other."""
    instances, each, threads = cores
    if instances is None and each is None and not is_parallel and rate is None:
        return (None,)
    if each is not None and threads is not None:
        raise RecipeError(
            "threads by --threads or by --cores-per-instance",
            f"both, {threads} and {each}",
            "An instance has as many threads as cores.",
        )
    if arrivals not in ARRIVALS:
        raise RecipeError(
            " or ".join(ARRIVALS), repr(arrivals), f"{ARRIVALS[0]} is the default of --arrivals."
        )
    where = places(instances, each or threads)
    if instances is None and each is None:
        where = where[:1]
    rates = [None] if rate is None else _rates(rate)
    return tuple(
        Load(places=where, rate=r, arrivals=arrivals, is_parallel=is_parallel) for r in rates
    )


def _contenders(
    models: Sequence[str], asked: Sequence[str], scratch: Path
) -> tuple[list[Contender], FloatModel]:
    """Every model on every runtime that runs it, and what the first one opened to."""
    found: dict[str, Contender] = {}
    first = None
    runtimes = asked or installed()
    for runtime in runtimes:
        modules.runtime(runtime)  # one that cannot be is told of before anything is opened
    for k, text in enumerate(models):
        for runtime in runtimes:
            opened = _opened(text, runtime, scratch / f"{k}")
            if opened is None:
                continue
            path, model, own = opened
            name = f"{text} on {own}"
            if name in found or (asked and own != runtime.replace("_", "-")):
                continue  # an OpenVINO file has one runtime, whatever was asked
            found[name] = Contender(name=name, runtime=own, path=path)
            first = first or model
    if first is None:
        raise RecipeError(
            f"a model that {' or '.join(runtimes)} can open",
            ", ".join(models),
            "An .xml file runs with openvino alone, and torch-eager wants a module, not a graph.",
        )
    return list(found.values()), first


def _opened(text: str, runtime: str, cache: Path) -> tuple[Path, FloatModel, str] | None:
    """As `open_any`; None for a runtime that runs modules and a model that is none."""
    name = runtime.replace("_", "-")
    if name not in modules.NAMES:
        return open_any(text, runtime, cache)
    if is_file(text) or not modules.is_module(text):
        return None
    _, model, _ = open_any(text, "ort", cache)
    return modules.module_file(text, model, cache), model, name


def _answers(contender: Contender, found: Comparison) -> dict[str, Any]:
    """What a row says of one call after the other."""
    latency, compared = found.latencies[contender.name], found.ratios[contender.name]
    return {
        "latency_ms": latency.milliseconds(),
        "throughput": latency.throughput,
        "peak_rss_bytes": latency.peak_rss_bytes,
        **_compared(compared, found.noise_floor),
    }


def _borne(contender: Contender, found: LoadComparison, load: Load) -> dict[str, Any]:
    """What a row says of a model under load."""
    bearing, compared = found.bearings[contender.name], found.ratios[contender.name]
    return {
        "latency_ms": bearing.latency.milliseconds(),
        "throughput": bearing.throughput,
        "peak_rss_bytes": bearing.latency.peak_rss_bytes,
        **_compared(compared, found.noise_floor),
        "load": {
            "instances": len(load.places),
            "cores_per_instance": len(load.places[0]),
            "cpus": load.places,
            "parallel": load.is_parallel,
            "rate": load.rate,
            "arrivals": None if load.rate is None else load.arrivals,
            "service_ms": bearing.service * 1000,
            "unanswered": bearing.unanswered,
        },
    }


def _compared(ratio: Ratio, noise_floor: float) -> dict[str, Any]:
    return {
        "ratio": ratio.value,
        "ratio_interval": [ratio.low, ratio.high],
        "noise_floor": noise_floor,
    }


def _row(
    contender: Contender,
    point: tuple[int, int],
    measured: dict[str, Any],
    cold: Latency | None,
) -> dict[str, Any]:
    """One row of the document."""
    row = {**_named(contender, point), **measured, "size_bytes": _size(contender)}
    if cold is not None:
        row["cold_start_ms"] = cold.milliseconds()
    return row


def _named(contender: Contender, point: tuple[int, int]) -> dict[str, Any]:
    model = contender.name.rsplit(" on ", 1)[0]
    return {
        "model": model,
        "runtime": contender.runtime,
        "batch": point[0],
        "length": point[1],
    }


def _size(contender: Contender) -> int | None:
    """Bytes of the model's files; a module has none of its own."""
    if contender.runtime in modules.NAMES:
        return None
    return sum(path.stat().st_size for path in files_of(contender.path))


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
        raise RecipeError(
            f"whole numbers like 1,8 for {option}", repr(text), "Separate numbers from 1 by commas."
        )
    return found


def _rates(text: str) -> list[float]:
    """The rates in `50,100`.

    Raises:
        RecipeError: Something else, or a rate at which windows last for minutes or hold millions.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    slowest, fastest = RATES
    if not found or not all(slowest <= rate <= fastest for rate in found):
        raise RecipeError(
            f"requests per second like 50,100 for --rate, from {slowest:g} to {fastest:g}",
            repr(text),
            "Separate rates by commas, or leave --rate out for a closed loop.",
        )
    return found


def _sample(model: Any, length: int) -> Any:
    from gossamer.tasks import choose

    data = choose("fidelity", model, {}).open(DataRequest(model=model, length=length))
    return next(iter(data.calibration.feeds()))
