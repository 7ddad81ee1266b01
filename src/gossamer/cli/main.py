"""The command line: arguments in, calls out."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from gossamer.cli.bench import bench
from gossamer.cli.check import check
from gossamer.cli.launch import launched
from gossamer.cli.profile import COSTS, cache_folder, profile
from gossamer.cli.report import report
from gossamer.cli.shown import show
from gossamer.cli.sweep import sweep
from gossamer.cli.tune import tune
from gossamer.errors import GossamerError

EXCLUDE = (
    "Keep these in float: a node's name, an operator, re:PATTERN, or layernorm, gelu, softmax, "
    "residual, gather; may be repeated."
)
TASK_OPTIONS = (
    ("--columns", "Text columns: text=0,pair=1,label=2, by name or index."),
    ("--metric", "Text metric: accuracy, f1, matthews or spearman."),
    ("--size", "Images are resized to this: 224 or 240x320."),
    ("--crop", "Centre crop after resizing: 224 or 240x320."),
    ("--channel-order", "rgb or bgr."),
    ("--scale", "Factor on 0..255 pixels, default 1/255."),
    ("--mean", "Subtracted after scaling, in model channel order: 0.485,0.456,0.406."),
    ("--std", "Divided by after that."),
    ("--resample", "Interpolation of resizing: nearest, bilinear, bicubic …"),
    ("--preprocess", "A preprocess.yaml with the image options."),
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code (contract: 0, 1, 2 or 3)."""
    given = sys.argv[1:] if arguments is None else arguments
    warnings.simplefilter("ignore")
    as_json = "--json" in given
    try:
        code = commands.main(given, prog_name="gossamer", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        code = _usage(error, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        code = _interrupted(as_json=as_json)
    except GossamerError as error:
        code = _failed(error, error.exit_code, as_json=as_json)
    except Exception as error:
        code = _failed(error, 3, as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": lambda name: name.replace("_", "-"),
    }
)
@click.version_option(package_name="gossamer")
def commands() -> None:
    """Make trained models small and fast, and prove it.

    A trained model, data, a place to run and an accuracy budget go in; the fastest model that
    could be measured within that budget comes out.
    """


commands.add_command(bench)
commands.add_command(check)
commands.add_command(profile)
commands.add_command(sweep)
commands.add_command(report)
commands.add_command(tune)


def _with_task_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(TASK_OPTIONS):
        command = click.option(name, default=None, help=text)(command)
    return command


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """The task options that the user typed, numbers as numbers."""
    names = [name.lstrip("-").replace("-", "_") for name, _ in TASK_OPTIONS]
    found = {name: given.pop(name) for name in names}
    return {k: _number(v) for k, v in found.items() if v is not None}


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


@commands.command()
@click.argument("model")
@click.option("--task", help="Name of the task; else the model's config decides, else fidelity.")
@click.option("--data", type=click.Path(path_type=Path), help="File or folder with samples.")
@click.option("--calibration-data", type=click.Path(path_type=Path), help="Only for calibration.")
@click.option("--max-drop", help="Accuracy budget: 1% (relative), 0.5pt or 0.3abs.")
@click.option("--target", "targets", multiple=True, help="Where it will run; may be repeated.")
@click.option("--cpu", default="portable", show_default=True, help="Weakest CPU to be right on.")
@click.option("--exclude", multiple=True, metavar="NODES", help=EXCLUDE)
@click.option("--budget", default="10m", show_default=True, help="Time: 90s, 10m or 2h.")
@click.option("--trials", type=click.IntRange(1), help="Most candidates to try.")
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, help="Samples per timed call."
)
@click.option(
    "--length", type=click.IntRange(1), default=128, show_default=True, help="Tokens of each."
)
@click.option("--threads", type=click.IntRange(1), help="Default: the physical cores.")
@click.option("--out", type=click.Path(path_type=Path), default="gossamer-out", show_default=True)
@click.option("--resume", is_flag=True, help="Go on where a killed run stopped.")
@click.option("--overwrite", is_flag=True, help="Replace what is in --out.")
@click.option("--dry-run", is_flag=True, help="List the candidates and write nothing.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the splits.")
@COSTS
@click.option("--json", "as_json", is_flag=True, help="Only the result document, on stdout.")
@_with_task_options
def compress(*, dry_run: bool, as_json: bool, **given: Any) -> int:
    """Find the fastest model within an accuracy budget.

    MODEL is an ONNX file, a Hugging Face folder or hub id, or package.module:factory.
    """
    import gossamer

    options = _options(given)
    given["costs"] = given["costs"] or cache_folder()
    if dry_run:
        return _dry_run(given, options, as_json=as_json)
    command = shlex.join(["gossamer", *sys.argv[1:]])
    with _progress(quiet=as_json, budget=given["budget"]) as progress:
        result = gossamer.compress(options=options, progress=progress, command=command, **given)
    show(result, as_json=as_json)
    return int(result.exit_code)


def _dry_run(given: dict[str, Any], options: dict[str, Any], *, as_json: bool) -> int:
    import tempfile

    from gossamer.progress import Silent
    from gossamer.search.prepare import Request, planned, prepare

    kept = {k: v for k, v in given.items() if k not in ("out", "resume", "overwrite")}
    request = Request(options=options, **kept)
    with tempfile.TemporaryDirectory(prefix="gossamer-") as scratch:
        prepared = prepare(request, Path(scratch), given["out"], Silent())
        rungs = planned(prepared)
    rows = [{"id": r.recipe.digest(), "label": r.label, "recipe": r.recipe.dump()} for r in rungs]
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "candidates": rows}, indent=1))
    else:
        for row, rung in zip(rows, rungs, strict=True):
            click.echo(f"{row['id']}  {rung.recipe.target:14} {rung.label}")
    return 0


@commands.command(name="eval")
@click.argument("model")
@click.option("--task", required=True, help="Name of the task: see gossamer list tasks.")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="File or folder with samples."
)
@click.option("--runtime", default="ort", show_default=True, help="ort, openvino …")
@click.option("--threads", type=click.IntRange(1), help="Default: the physical cores.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws what the task draws.")
@click.option("--json", "as_json", is_flag=True, help="Only the document, on stdout.")
@_with_task_options
def evaluate(*, as_json: bool, **given: Any) -> int:
    """Score one model over all rows of a data set.

    MODEL is a model file, the output folder of compress, or whatever compress takes.
    """
    from gossamer.evaluate import evaluate as run

    options = _options(given)
    document = run(options=options, **given)
    if as_json:
        click.echo(json.dumps(document))
    else:
        for name, value in document["metrics"].items():
            click.echo(f"{name:20} {value:.6g}")
        click.echo(f"{'rows':20} {document['n']}")
        for remark in document["remarks"]:
            click.echo(remark, err=True)
    return 0


@commands.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default="gossamer-out", show_default=True)
@click.option("--target", help="Make them for this one instead; its runtime need not be here.")
def run(recipe: Path, out: Path, target: str | None) -> int:
    """Make the model files that a recipe.yaml describes.

    A recipe that trains also runs in the processes of `torchrun` or `accelerate launch`.
    """
    from gossamer.rerun import rerun, rerun_along

    with launched() as rank:
        if rank:
            rerun_along(recipe, out)
            return 0
        with _progress(quiet=False, budget=None) as progress:
            artifact = rerun(recipe, out, progress, target=target)
    for name, digest in artifact.sha256().items():
        click.echo(f"{digest}  {artifact.folder / name}")
    if (out / "stages.json").exists():
        from gossamer.stages import table

        click.echo(table(json.loads((out / "stages.json").read_text())), nl=False)
    if artifact.elsewhere:
        click.echo(artifact.elsewhere, err=True)
    return 0


@commands.command()
@click.argument("model", metavar="FLOAT")
@click.argument("quantized", metavar="QUANTIZED", type=click.Path(path_type=Path))
@click.option("--task", help="Name of the task; else the recipe's or the model's, else fidelity.")
@click.option("--data", type=click.Path(path_type=Path), help="File or folder with samples.")
@click.option("--max-drop", help="Accuracy budget: 1% (relative), 0.5pt or 0.3abs.")
@click.option("--target", help="Where a quantized file runs: ort-cpu (default), openvino-cpu.")
@click.option("--cpu", default="portable", show_default=True, help="Weakest CPU to be right on.")
@click.option("--samples", type=click.IntRange(1), default=512, show_default=True, help="Rows.")
@click.option("--threads", type=click.IntRange(1), help="Default: the physical cores.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="gossamer-diagnosis", show_default=True
)
@click.option("--apply", is_flag=True, help="Save the cured model, scored on the report split.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Only the document, on stdout.")
@_with_task_options
def diagnose(*, as_json: bool, **given: Any) -> int:
    """Find what costs a quantized model its accuracy, and cure it.

    FLOAT is a model, QUANTIZED an ONNX file with Q/DQ made from it by any tool, or a recipe.yaml
    (or the output folder) of compress.
    """
    import gossamer
    from gossamer.report import diagnosis

    command = shlex.join(["gossamer", *sys.argv[1:]])
    with _progress(quiet=as_json, budget=None) as progress:
        found = gossamer.diagnose(
            options=_options(given), progress=progress, command=command, **given
        )
    if as_json:
        click.echo(diagnosis.text(found), nl=False)
    else:
        from rich.console import Console

        diagnosis.show(found, Console())
    return found.exit_code


@commands.command()
@click.argument("model")
@click.option("--target", "targets", multiple=True, help="Where it would run; may be repeated.")
@click.option("--cpu", default="portable", show_default=True, help="Weakest CPU to be right on.")
@click.option("--exclude", multiple=True, metavar="NODES", help=EXCLUDE)
def explain(model: str, targets: tuple[str, ...], cpu: str, exclude: tuple[str, ...]) -> int:
    """Say what happens at every site, and why.

    MODEL is a model, a recipe.yaml, or the output folder of compress, whose winner is explained.
    """
    from gossamer.explain import explain as lines

    for line in lines(model, targets=targets, cpu=cpu, exclude=exclude):
        click.echo(line)
    return 0


@commands.command()
@click.argument("model")
def inspect(model: str) -> int:
    """Show inputs, outputs, operators and size of a model."""
    from gossamer.explain import inspect as lines

    for line in lines(model):
        click.echo(line)
    return 0


@commands.command(name="list")
@click.argument("family", required=False)
def list_(family: str | None) -> int:
    """List plug-in families, or the members of one."""
    from gossamer import plugins
    from gossamer.explain import doubts

    for name in [family] if family else sorted(plugins.FAMILIES):
        if not family:
            click.echo(f"{name}:")
        for member in plugins.names(name):
            click.echo(member if family else f"  {member}")
    for target, doubt in doubts().items() if family in (None, "targets") else ():
        click.echo(f"{target}: {doubt}", err=True)
    return 0


@commands.command(short_help="Train a small network and compress it.")
@click.option("--out", type=click.Path(path_type=Path), default="gossamer-demo", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Only the result document, on stdout.")
def demo(out: Path, *, as_json: bool) -> int:
    """Train a small network, compress it, print the table and write the report."""
    from gossamer.demo import demo as run

    with _progress(quiet=as_json, budget=None) as progress:
        result = run(out, progress)
    show(result, as_json=as_json)
    return int(result.exit_code)


@contextlib.contextmanager
def _progress(*, quiet: bool, budget: str | None) -> Iterator[Any]:
    from rich.console import Console

    from gossamer.cli.progress import watch
    from gossamer.search.goal import parse_seconds

    seconds = None if budget is None else parse_seconds(budget)
    with watch(Console(stderr=True), quiet=quiet, budget=seconds) as progress:
        yield progress


def _usage(error: click.ClickException, *, as_json: bool) -> int:
    if as_json:
        from gossamer.errors import InputError
        from gossamer.report import document

        told = InputError("valid arguments", error.format_message(), "See gossamer --help.")
        click.echo(document.text(document.error_document(told)), nl=False)
    else:
        error.show()
    return 2


def _interrupted(*, as_json: bool) -> int:
    from gossamer.errors import GossamerError as Error

    error = Error("to run to the end", "Ctrl-C", "Go on with --resume.")
    return _failed(error, 3, as_json=as_json)


def _failed(error: Exception, code: int, *, as_json: bool) -> int:
    from gossamer.report import document

    told = document.error_document(error)
    if as_json:
        click.echo(document.text(told), nl=False)
        return code
    parts = told["error"]
    click.echo(f"gossamer: {parts['type']}", err=True)
    for key in ("needed", "received", "hint"):
        if parts[key]:
            click.echo(f"  {key:9}{parts[key]}", err=True)
    return code
