"""The command `bench`."""

from __future__ import annotations

import json
from typing import Any

import click

SECONDS = click.FloatRange(0, 600, min_open=True)
RUNTIME = (
    "ort, openvino …; default: all that fit. Modules run on torch-eager and torch-compile too, and "
    "on both with -bf16."
)
LOAD = (
    click.option(
        "--instances", type=click.IntRange(1), help="Processes at once, each on cores of its own."
    ),
    click.option(
        "--cores-per-instance", type=click.IntRange(1), help="Default: all cores, shared out."
    ),
    click.option(
        "--parallel",
        is_flag=True,
        help="Sessions side by side in a process: OpenVINO's throughput hint, else one per core.",
    ),
    click.option("--rate", help="Requests per second: 50,100. Latency counts from their time."),
    click.option(
        "--arrivals",
        type=click.Choice(["poisson", "fixed"]),
        default="poisson",
        show_default=True,
        help="Requests come at random times or at even distances.",
    ),
)


def _with_load(command: Any) -> Any:
    for option in reversed(LOAD):
        command = option(command)
    return command


@click.command(short_help="Time models against each other, in turns.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--runtime", "runtimes", multiple=True, help=RUNTIME)
@click.option("--batch", default="1", show_default=True, help="Batch sizes: 1,8")
@click.option("--length", default="128", show_default=True, help="Sequence lengths: 32,128")
@click.option("--threads", type=click.IntRange(1), help="Default: the physical cores.")
@click.option(
    "--seconds", type=SECONDS, default=2.0, show_default=True, help="Per model and point."
)
@_with_load
@click.option(
    "--cold-starts",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Time so many starts of a process, to its first answer.",
)
@click.option("--operators", is_flag=True, help="Say too what each operator takes.")
@click.option(
    "--compare",
    is_flag=True,
    help="MODEL... is OLD NEW, models or documents of --json: exit code 1 if NEW is slower.",
)
@click.option("--max-slowdown", default="5%", show_default=True, help="What --compare lets pass.")
@click.option("--json", "as_json", is_flag=True, help="Only the document, on stdout.")
def bench(*, as_json: bool, compare: bool, max_slowdown: str, **given: Any) -> int:
    """Time models against each other, interleaved; ratios are against the first.

    MODEL is a model file, the output folder of compress, or whatever compress takes.
    """
    if compare:
        return _compare(given, max_slowdown, as_json=as_json)
    from gossamer.bench import bench as run
    from gossamer.report.bench_table import operator_tables, table

    document = run(**given)
    if as_json:
        click.echo(json.dumps(document))
        return 0
    click.echo(table(document))
    click.echo(operator_tables(document), nl=False)
    return 0


def _compare(given: dict[str, Any], max_slowdown: str, *, as_json: bool) -> int:
    from gossamer.compare import compare, table

    models = given.pop("models")
    if len(models) != 2:
        raise click.UsageError(f"--compare needs OLD and NEW, not {len(models)} models")
    document = compare(*models, max_slowdown=max_slowdown, **given)
    click.echo(json.dumps(document) if as_json else table(document))
    return 0 if document["holds"] else 1
