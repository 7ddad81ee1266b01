"""The command `sweep`."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("path", metavar="SWEEP.yaml", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default="gossamer-out", show_default=True)
@click.option("--resume", is_flag=True, help="Go on where a killed sweep stopped.")
@click.option("--overwrite", is_flag=True, help="Replace what is in --out.")
@click.option("--dry-run", is_flag=True, help="List the settings and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Only the document, on stdout.")
def sweep(path: Path, *, dry_run: bool, as_json: bool, **given: Any) -> int:
    """Score and time every combination of quantization options.

    SWEEP.yaml holds a run as Optimum has it, or a list of runs, with lists of values where they
    vary. Data sets are local files. The card with all tables is README.md in --out.
    """
    from rich.console import Console

    from gossamer.cli.progress import watch

    if dry_run:
        return _dry_run(path, as_json=as_json)
    import gossamer
    from gossamer.report import sweep_document

    command = shlex.join(["gossamer", *sys.argv[1:]])
    with watch(Console(stderr=True), quiet=as_json, budget=None) as progress:
        found = gossamer.sweep(path, progress=progress, command=command, **given)
    if as_json:
        click.echo(sweep_document.text(found), nl=False)
        return 0
    failed = sum(s.status == "failed" for s in found.settings)
    reasons = f"; {failed} cannot be had, with their reasons there" if failed else ""
    click.echo(
        f"{len(found.settings)} settings, {found.files} files: {found.out / 'README.md'}{reasons}"
    )
    return 0


def _dry_run(path: Path, *, as_json: bool) -> int:
    from gossamer.report import words
    from gossamer.report.sweep_card import shown
    from gossamer.sweep import forecast

    asked, seconds = forecast(path)
    rows = [
        {"id": setting.digest(), "values": values}
        for setting, values in zip(asked.settings, asked.values, strict=True)
    ]
    if as_json:
        click.echo(
            json.dumps({"schema_version": 1, "seconds": seconds, "settings": rows}, indent=1)
        )
        return 0
    for row, values in zip(rows, asked.values, strict=True):
        click.echo(f"{row['id']}  {shown({k: values.get(k) for k in asked.varied})}")
    places = len(asked.batches) * len(asked.lengths)
    click.echo(
        f"{len(rows)} settings at {places} points each: about {words.duration(seconds)} for a "
        "model of 20 million parameters; less where settings make the same file, as that is "
        "measured once"
    )
    return 0
