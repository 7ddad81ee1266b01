"""The command `check`: a gate for pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(short_help="Say whether the result of a compress holds a gate.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--max-drop", help="1% (relative), 0.5pt or 0.3abs; default: what compress was given."
)
@click.option("--min-speedup", type=float, help="Times as fast as float32: 1.5")
@click.option("--json", "as_json", is_flag=True, help="Only the document, on stdout.")
def check(*, as_json: bool, out: Path, max_drop: str | None, min_speedup: float | None) -> int:
    """Say whether the result of a compress holds a gate: exit code 0 if it does, 1 if not.

    OUT is the output folder of compress. Nothing is measured again.
    """
    from gossamer.check import check as run
    from gossamer.check import lines

    document = run(out, max_drop=max_drop, min_speedup=min_speedup)
    click.echo(json.dumps(document) if as_json else "\n".join(lines(document)))
    return 0 if document["holds"] else 1
