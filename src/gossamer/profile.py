"""What int8 gains or loses at each operator of a model, timed on this machine."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import RecipeError
from gossamer.progress import Silent
from gossamer.report.document import plain
from gossamer.report.table import markdown_table
from gossamer.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from gossamer.progress import Progress
    from gossamer.report.table import Align
    from gossamer.search.kernels import Profile

SIDES: tuple[Align, ...] = ("left", "right", "right", "right", "left")


def profile(  # noqa: PLR0913 - the options of the command line, by the same names
    model: str | Path,
    *,
    costs: str | Path,
    targets: Sequence[str] = (),
    cpu: str = "portable",
    exclude: Sequence[str] = (),
    batch: int = 1,
    length: int = 128,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The `profile --json` document; what the folder `costs` holds already is not timed again.

    Args:
        model: Whatever compress takes; so are the options.
        costs: The folder.
        targets: Names of targets; empty is every one whose runtime is installed.
        cpu: Weakest CPU level on which the result must be right.
        exclude: Nodes that stay in float anyway, as `gossamer.graph.select` finds them.
        batch: Batch size that is timed.
        length: Sequence length that is timed.
        threads: Threads; None is the physical cores.
        progress: Is told of every block.

    Raises:
        GossamerError: The model or an option cannot be used, or it could not be run.
    """
    from gossamer.measure.environment import named_level, physical_cores
    from gossamer.search.kernels import Asked, measured, survey
    from gossamer.search.prepare import installed_targets, selected
    from gossamer.sources import find
    from gossamer.task import DataRequest, example
    from gossamer.tasks import choose

    if batch < 1 or length < 1 or (threads or 1) < 1:
        given, hint = f"{batch}, {length} and {threads}", "Leave them out for their defaults."
        raise RecipeError("batch, length and threads of at least 1", given, hint)
    watcher, cpu = progress or Silent(), named_level(cpu)
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        opened = find(str(model)).open(Path(scratch))
        matches = selected(opened, installed_targets(targets, cpu), exclude)
        data = choose("fidelity", opened, {}).open(DataRequest(model=opened, length=length))
        asked = Asked(
            model=opened,
            target="",
            feed=example(opened.inputs, next(iter(data.calibration.feeds())), batch, length),
            cpu=cpu,
            exclude=(),
            threads=threads or physical_cores(),
            cache=Path(costs),
        )
        entries = []
        for name, found in matches.items():
            kept = [s for s in found if found[s]]
            one = dataclasses.replace(asked, target=name, exclude=kept)
            entries.append(_entry(measured(survey(one, watcher), watcher)))
    top = {"schema_version": SCHEMA_VERSION, "model": str(model), "targets": entries}
    return dict(plain(top))


def table(document: dict[str, Any]) -> str:
    """The document for people: a table for each target, what costs most first."""
    parts = []
    for entry in document["targets"]:
        machine = entry["machine"]
        lines = [
            [
                row["kernel"],
                f"{row['in_int8']} of {row['sites']}",
                _ms(row["float32_ms"]),
                _ms(row["int8_ms"]),
                row["why"],
            ]
            for row in entry["kernels"]
        ]
        total = entry["total_ms"]
        told = (
            f"{machine['target']}: {machine['runtime']} on {machine['cpu']}, "
            f"{machine['threads']} threads; timed in {entry['seconds']:.0f} s\n\n"
        )
        sums = (
            f"\nThese sites and the conversions between them take {total['float32']:.2f} ms in "
            f"float32, {total['uniform']:.2f} ms in int8 everywhere, {total['ruled']:.2f} ms by "
            f"the target's rules, and {total['cheapest']:.2f} ms as chosen here.\n"
        )
        headers = ["kernel", "in int8", "float32 ms", "int8 ms", "why the others are not"]
        parts.append(told + markdown_table(headers, lines, SIDES) + sums)
    return "\n".join(parts)


def _entry(profile: Profile) -> dict[str, Any]:
    """One target of the document."""
    from gossamer.graph.pieces import label

    sites = Counter(profile.signatures.values())
    chosen = Counter(profile.signatures[s] for s in profile.in_int8 if s in profile.signatures)
    why = {
        profile.signatures[s]: text for s, text in profile.slow.items() if s in profile.signatures
    }
    rows: list[dict[str, Any]] = []
    for signature, count in sites.items():
        found = profile.costs.kernel(signature)
        rows.append(
            {
                "kernel": label(signature),
                "signature": signature,
                "sites": count,
                "in_int8": chosen[signature],
                "float32_ms": None if found is None else found[0] * 1000,
                "int8_ms": None if found is None else found[1] * 1000,
                "why": why.get(signature, ""),
            }
        )
    rows.sort(key=lambda row: -row["sites"] * (row["float32_ms"] or 0.0))
    return {
        "machine": profile.costs.machine.dump(),
        "seconds": profile.seconds,
        "noise_floor": profile.costs.noise_floor,
        "total_ms": {name: total / 1e6 for name, total in profile.totals().items()},
        "kernels": rows,
        "in_float": dict(profile.slow),
    }


def _ms(value: float | None) -> str:
    return "refused" if value is None else f"{value:.3f}"
