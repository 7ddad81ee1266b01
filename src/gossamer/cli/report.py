"""The command `report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("outs", nargs=-1, required=True, metavar="OUT...", type=click.Path(path_type=Path))
@click.option("--format", "name", default="card", show_default=True, help="See list formats.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A file: .md, .html, .csv or .json; else stdout."
)
def report(outs: tuple[Path, ...], name: str, out: Path | None) -> int:
    """Write published tables from what was measured.

    OUT is an output folder of compress or sweep; several are put into one table, also those of
    other machines.
    """
    from gossamer.tables import tables

    text = tables(outs, format=name, out=out)
    if out is None:
        click.echo(text, nl=False)
    return 0
