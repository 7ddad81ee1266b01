"""The command `tune`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from gossamer.cli.shown import show


@click.command()
@click.argument("search", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--trials", type=click.IntRange(1), help="Most recipes to try; else the file's.")
@click.option("--budget", help="Time: 90s, 10m or 2h; else the file's, else 10m.")
@click.option("--storage", default="", metavar="URL", help="Database for several machines.")
@click.option("--executor", default="local", show_default=True, help="local, or ray: a cluster.")
@click.option("--out", type=click.Path(path_type=Path), default="gossamer-out", show_default=True)
@click.option("--resume", is_flag=True, help="Go on, or join a search that is going on.")
@click.option("--overwrite", is_flag=True, help="Replace what is in --out.")
@click.option("--json", "as_json", is_flag=True, help="Only the result document, on stdout.")
def tune(*, as_json: bool, **given: Any) -> int:
    """Search the open places of a recipe.

    SEARCH is a YAML file with a model, data and a recipe in which values are left open, like
    {choice: [min-max, mse]} or {range: {low: 4, high: 8}}.
    """
    from rich.console import Console

    import gossamer
    from gossamer.cli.progress import watch

    # the report says what was typed, but for the database: its URL may hold a password
    hidden = {given["storage"], f"--storage={given['storage']}"} if given["storage"] else set()
    typed = ["URL" if word in hidden else word for word in sys.argv[1:]]
    command = shlex.join(["gossamer", *typed])
    with watch(Console(stderr=True), quiet=as_json, budget=None) as progress:
        result = gossamer.tune(progress=progress, command=command, **given)
    show(result, as_json=as_json)
    return int(result.exit_code)
