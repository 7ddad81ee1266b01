"""The command `report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("outs", nargs=-1, required=True, metavar="OUT...", type=click.Path(path_type=Path))
@click.option("--format", "name", help="Default: card. See gossamer list formats.")
@click.option(
    "--benchmark",
    metavar="DATASET:TASK",
    help="Instead: a file for .eval_results of a Hugging Face model repository, such as for "
    "cais/hle:hle.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A file: .md, .html, .csv or .json; else stdout."
)
def report(
    outs: tuple[Path, ...], name: str | None, benchmark: str | None, out: Path | None
) -> int:
    """Write published tables from what was measured.

    OUT is an output folder of compress or sweep; several are put into one table, also those of
    other machines. With --format html it may be a document of bench --json.
    """
    from gossamer.tables import tables

    text = tables(outs, format=name, out=out, benchmark=benchmark)
    if out is None:
        click.echo(text, nl=False)
    return 0
