"""Everything that is measured of each site of a quantized model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from gossamer import plugins, store
from gossamer.diagnosis import SiteDiagnosis, Tensor, decibel
from gossamer.errors import GossamerError
from gossamer.graph import operands
from gossamer.graph.beside import Sums, beside
from gossamer.graph.bias import channel_axes
from gossamer.graph.calibrate import collect
from gossamer.graph.refuse import weight_axis
from gossamer.graph.sites import Site, originals, stored
from gossamer.graph.taps import Wanted
from gossamer.measure.isolate import Isolated
from gossamer.measure.noise import worst_noise
from gossamer.run import save
from gossamer.search.drop_worst import RANKING_SAMPLES
from gossamer.search.findings import finding
from gossamer.task import affordable

if TYPE_CHECKING:
    from gossamer.runtime import Feed
    from gossamer.search.case import Case
    from gossamer.search.judge import Judge
    from gossamer.search.prepare import Prepared
    from gossamer.statistics import Statistics
    from gossamer.target import TargetSpec
    from gossamer.task import Split

WORST = 8  # sites that are taken out one by one and scored: each costs a pass over the rows
TAPS = "ort"  # the runtime that computes sums: OpenVINO's kernels change where values are read


def examine(case: Case, judge: Judge, folder: Path) -> tuple[SiteDiagnosis, ...]:
    """Every site with all that was measured, the worst first.

    Sites are ordered by what each does to the model's outputs alone, over a few rows; the worst of
    them are then scored without.

    Args:
        case: The quantized model.
        judge: Knows the float model's outputs.
        folder: For scratch files.

    Raises:
        GossamerError: A graph could not be run.
    """
    prepared = judge.prepared
    alone, accumulated = _local(case, judge, folder)
    damages = dict(damage(case, judge, folder))
    tensors, overflows = _operands(case, prepared, judge.split)
    found = [
        SiteDiagnosis(
            site=site.name,
            op=site.op,
            finding=finding(tensors[site.name], overflows[site.name]),
            alone_db=alone.get(site.name),
            output_db=decibel(1.0, damages[site.name]),
            accumulated_db=accumulated.get(site.name),
            overflow=overflows[site.name],
            tensors=tensors[site.name],
            unmatched=_unmatched(case, site, alone),
        )
        for site in case.sites
    ]
    found.sort(key=lambda s: (s.output_db, math.inf if s.alone_db is None else s.alone_db))
    prepared.progress.stage("leave one out", min(WORST, len(found)))
    worst = [_without(case, judge, site, folder) for site in found[:WORST]]
    return (*worst, *found[WORST:])


def damage(case: Case, judge: Judge, folder: Path) -> tuple[tuple[str, float], ...]:
    """Sites and noise over signal of the worst output when each is quantized alone, worst first.

    Over a few rows of the search split.
    """
    prepared = judge.prepared
    rows = affordable(prepared.data.search, RANKING_SAMPLES)
    feeds = list(rows.feeds())
    expected = _outputs(case.reference, judge, feeds)
    prepared.progress.stage("each site alone", len(case.sites))
    found = []
    for site in case.sites:
        path = folder / "alone" / "model.onnx"
        others = tuple(name for name in case.everything if name != site.name)
        try:
            save(case.without(others), path)
            noise = worst_noise(expected, _outputs(path, judge, feeds))
        except GossamerError:
            noise = math.inf
        found.append((site.name, noise))
        prepared.progress.advance()
    store.remove(folder / "alone")
    return tuple(sorted(found, key=lambda pair: -pair[1]))


def _outputs(path: Path, judge: Judge, feeds: Sequence[Feed]) -> list[Feed]:
    session = judge.process.open(path, "f32")
    return [session.run(feed) for feed in feeds]


def _local(
    case: Case, judge: Judge, folder: Path
) -> tuple[dict[str, float | None], dict[str, float]]:
    """SQNR at each site's output with the site alone, and with all of them, in one pass."""
    prepared = judge.prepared
    both, sums = beside(
        ir.load(case.reference), ir.load(case.graph), case.sites, changed=case.changed
    )
    if not sums:
        return {}, {}
    path = folder / "beside" / "model.onnx"
    save(both, path)
    prepared.progress.stage("error at each site", len(judge.split))
    totals: dict[str, float] = {}
    with Isolated(TAPS, path, threads=prepared.threads) as session:
        for feed in judge.split.feeds():
            for name, value in session.run(feed).items():
                totals[name] = totals.get(name, 0.0) + float(value)
            prepared.progress.advance()
    store.remove(folder / "beside")
    alone = {name: _ratio(totals, s, s.alone) for name, s in sums.items()}
    return alone, {n: decibel(totals[s.signal], totals[s.accumulated]) for n, s in sums.items()}


def _ratio(totals: Mapping[str, float], sums: Sums, noise: str | None) -> float | None:
    return None if noise is None else decibel(totals[sums.signal], totals[noise])


def _operands(
    case: Case, prepared: Prepared, split: Split
) -> tuple[dict[str, tuple[Tensor, ...]], dict[str, int | None]]:
    """The operands of each site, and how many of its channels can overflow 16-bit sums."""
    graph = ir.load(case.graph)
    kept = originals(graph, case.sites, ir.load(case.reference))
    statistics = _statistics(case, prepared, split)
    target: TargetSpec = plugins.load("targets", prepared.targets[0])
    is_narrow = target.accumulator(prepared.request.cpu) == "s16"
    nodes = {node.name: node for node in graph.graph}
    tensors, overflows = {}, {}
    for site in case.sites:
        mine: list[Tensor] = []
        overflows[site.name] = 0 if is_narrow else None
        for read in site.reads:
            numbers = stored(graph.graph, read)
            if numbers is None:
                continue
            if read.is_constant:
                if numbers.integers is None or numbers.integers.dtype.itemsize > 2:
                    continue  # a bias in int32 loses nothing
                real = None if _is_smoothed(case, site) else kept.get(read)
                found = operands.weight(read.value, real, numbers)
                mine += [found] if found is not None else []
                if is_narrow and read.node == site.name:
                    axis = weight_axis(nodes[site.name], numbers.integers.ndim)
                    overflows[site.name] = operands.overflowing(numbers, axis)
            elif read.value in statistics.tensors:
                channels = statistics.channels.get(read.value)
                mine.append(
                    operands.activation(
                        read.value, statistics.tensor(read.value), numbers, channels
                    )
                )
        tensors[site.name] = tuple(mine)
    return tensors, overflows


def _is_smoothed(case: Case, site: Site) -> bool:
    """Whether its weights are others than in the float graph, by intent."""
    names = {site.output, *(read.value for read in site.reads)}
    return bool(names & case.changed) or any(name.endswith("_smoothed") for name in names)


def _statistics(case: Case, prepared: Prepared, split: Split) -> Statistics:
    """Of every value that a site reads, where no activation is stored."""
    bare = case.bare()
    values = tuple(dict.fromkeys(r.value for s in case.sites for r in s.reads if not r.is_constant))
    axes = channel_axes(bare.graph, values)
    return collect(
        bare,
        Wanted(values=values, means=axes, extremes=set(axes)),
        split.feeds,
        samples=len(split),
        threads=prepared.threads,
        progress=prepared.progress,
    )


def _without(case: Case, judge: Judge, site: SiteDiagnosis, folder: Path) -> SiteDiagnosis:
    path = folder / "without" / "model.onnx"
    try:
        save(case.without((site.site,)), path)
        judged = judge.score(path)
    except GossamerError as error:
        return dataclasses.replace(site, unmatched=f"not scored without it: {error.received}")
    finally:
        judge.prepared.progress.advance()
        store.remove(path.parent)
    return dataclasses.replace(site, without_score=judged.scored.value, without_db=judged.sqnr_db)


def _unmatched(case: Case, site: Site, alone: Mapping[str, float | None]) -> str:
    """Why the error at a site's output is not known."""
    if site.output in case.changed:
        return "smoothing scales its output"
    if site.name not in alone:
        return f"the float model has no value {site.output}"
    return "" if alone[site.name] is not None else "the float model lacks an operand of it"
