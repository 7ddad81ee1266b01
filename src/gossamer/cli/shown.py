"""How the outcome of a command is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gossamer.result import Result


def show(result: Result, *, as_json: bool) -> None:
    """The result for people, or nothing but its document."""
    from rich.console import Console

    from gossamer.report import document, table

    if as_json:
        click.echo(document.text(document.document(result)), nl=False)
    else:
        table.show(result, Console())
