"""Candidates from what was measured, from failures, and from studies."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer import plugins, store
from gossamer.result import Candidate

if TYPE_CHECKING:
    from gossamer.artifact import Artifact
    from gossamer.measurement import Latency, ScoreRows
    from gossamer.search.ladder import Rung

MEASUREMENT = "measurement.npz"  # raw latencies and scores of rows, beside a candidate's files


def measured(
    rung: Rung, artifact: Artifact, latency: Latency, scored: ScoreRows, out: Path
) -> Candidate:
    """A candidate that ran; its raw numbers lie beside its files.

    Raises:
        StorageError: They cannot be written.
    """
    with store.told_apart(artifact.folder):
        np.savez(artifact.folder / MEASUREMENT, seconds=latency.seconds, rows=scored.rows)
    decisions = artifact.plan.decisions if artifact.plan is not None else ()
    return Candidate(
        id=rung.recipe.digest(),
        status="ok",
        runtime=artifact.runtime,
        target=artifact.target,
        label=rung.label,
        recipe=rung.recipe.dump(),
        score=scored.value,
        metrics=scored.metrics,
        latency_ms=dict(latency.milliseconds()),
        latency_quantiles=latency.quantiles(),
        throughput=latency.throughput,
        size_bytes=artifact.size_bytes,
        peak_rss_bytes=latency.peak_rss_bytes,
        path=str(artifact.folder.relative_to(out)),
        files=artifact.sha256(),
        plan=tuple(
            (d.site, d.op, d.reason.value, rung.details.get(d.site, d.detail)) for d in decisions
        ),
        storage=tuple(artifact.plan.storage(d) for d in decisions) if artifact.plan else (),
    )


def failed(rung: Rung, reason: str) -> Candidate:
    """A candidate that did not run, with the reason."""
    target = plugins.load("targets", rung.recipe.target)
    return Candidate(
        id=rung.recipe.digest(),
        status="failed",
        runtime=target.runtime,
        target=target.name,
        label=rung.label,
        recipe=rung.recipe.dump(),
        reason=reason,
    )


def restored(document: dict[str, Any], out: Path) -> Candidate:
    """A candidate as a study keeps it; without its files where they are not in `out`."""
    fields = {f.name for f in dataclasses.fields(Candidate)}
    values = {k: v for k, v in document.items() if k in fields}
    for key in ("report_interval", "speedup_interval", "drop_interval"):
        if values.get(key) is not None:
            values[key] = tuple(values[key])
    values["plan"] = tuple(tuple(row) for row in values.get("plan", ()))
    for key in ("storage", "latency_quantiles"):
        values[key] = tuple(values.get(key, ()))
    path = values.get("path")
    if path is not None and not (out / path).is_dir():
        values["path"] = None
    return Candidate(**values)
