"""The command `profile`, and where the times of kernels are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

COSTS = click.option(
    "--costs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of kernel times; default: ~/.cache/gossamer/costs.",
)


def cache_folder() -> Path:
    """The user's folder of kernel times: below XDG_CACHE_HOME, or ~/.cache where that is unset."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return home / "gossamer" / "costs"


@click.command(short_help="Time operators in float32 and in int8 on this machine.")
@click.argument("model")
@click.option("--target", "targets", multiple=True, help="Where it will run; may be repeated.")
@click.option("--cpu", default="portable", show_default=True, help="Weakest CPU to be right on.")
@click.option("--exclude", multiple=True, metavar="NODES", help="Nodes that stay in float anyway.")
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples per call."
)
@click.option(
    "--length", type=click.IntRange(1), default=128, show_default=True, help="Tokens of each."
)
@click.option("--threads", type=click.IntRange(1), help="Default: the physical cores.")
@COSTS
@click.option("--json", "as_json", is_flag=True, help="Only the document, on stdout.")
def profile(*, as_json: bool, costs: Path | None, **given: Any) -> int:
    """Time each kind of operator of a model in float32 and in int8 on this machine.

    MODEL is whatever compress takes. Times are kept: compress places int8 by them.
    """
    from rich.console import Console

    from gossamer.cli.progress import watch
    from gossamer.profile import profile as run
    from gossamer.profile import table

    with watch(Console(stderr=True), quiet=as_json, budget=None) as progress:
        document = run(costs=costs or cache_folder(), progress=progress, **given)
    click.echo(json.dumps(document) if as_json else table(document))
    return 0
