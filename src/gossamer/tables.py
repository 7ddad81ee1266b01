"""Published tables and reports, generated from what compress, sweep and bench wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer import plugins, store
from gossamer.errors import OutputError, RecipeError
from gossamer.report import (
    bench_document,
    bench_page,
    eval_results,
    studies,
    sweep_card,
    sweep_document,
    sweep_page,
)
from gossamer.report.writing import WRITERS
from gossamer.swept import Swept

if TYPE_CHECKING:
    from gossamer.published import Study
    from gossamer.result import ReportFormat


def tables(
    outs: Sequence[str | Path],
    *,
    format: str | None = None,
    out: str | Path | None = None,
    benchmark: str | None = None,
) -> str:
    """The tables of a format, from every folder; in Markdown, or as the suffix of `out` says.

    Args:
        outs: Output folders of compress or sweep, of one machine or several; or one document of
            `bench --json`, for the format html.
        format: Name of the format; None is `card`.
        out: File to write them to: `.md`, `.html`, `.csv` or `.json`.
        benchmark: The data set and task of a leaderboard on the Hugging Face hub, `cais/hle:hle`.
            Then the text is the file of `.eval_results` for it, and there are no tables.

    Raises:
        InputError: A folder holds no finished study, or there is no such format or suffix.
    """
    if benchmark is not None:
        return _written(_benchmark(outs, format, benchmark), out)
    format = format or "card"
    member: ReportFormat = plugins.load("formats", format)()
    writer = WRITERS.get(Path(out).suffix if out is not None else ".md")
    if not member.is_in_folder and writer is None:
        raise OutputError(
            f"a file that ends in {', '.join(WRITERS)}", str(out), "Name another --out."
        )
    if any(Path(each).is_file() for each in outs):
        return _written(_bench(outs, format), out)
    found = [studies.read(Path(each)) for each in outs]
    if not found:
        raise RecipeError(
            "at least one output folder of compress or sweep",
            "none",
            "Name the folders that were given as --out.",
        )
    if member.is_in_folder or writer is None:
        text = _single(member, format, found)
    else:
        text = writer(member.published(found))
    return _written(text, out)


def _written(text: str, out: str | Path | None) -> str:
    if out is not None:
        store.check_writable(Path(out).parent)
        store.write_text(Path(out), text)
    return text


def _benchmark(outs: Sequence[str | Path], format: str | None, benchmark: str) -> str:
    """Evaluation results for the leaderboard of a benchmark."""
    if len(outs) != 1 or format is not None:
        raise RecipeError(
            "one output folder and no format for the results of a benchmark",
            f"{len(outs)} folders and {f'the format {format}' if format else 'no format'}",
            "Such a file holds the score of one model: report each folder by itself.",
        )
    return eval_results.text(studies.read(Path(outs[0])), benchmark)


def _bench(outs: Sequence[str | Path], name: str) -> str:
    """The page of a document of bench."""
    if len(outs) > 1 or name != "html":
        raise RecipeError(
            "one document of bench --json and the format html, or output folders alone",
            f"{len(outs)} files or folders and the format {name}",
            "Give --format html.",
        )
    return bench_page.page(bench_document.read(Path(outs[0])))


def _single(member: ReportFormat, name: str, found: Sequence[Study]) -> str:
    """What compress and sweep write into their own folders, written again."""
    if len(found) > 1:
        raise RecipeError(
            f"one output folder for the format {name}",
            f"{len(found)}",
            "Formats of several are neural-compressor, openvino and mixed-precision.",
        )
    source = found[0].source
    if not isinstance(source, Swept):
        return member.render(source)
    writers = {"card": sweep_card.card, "json": sweep_document.text, "html": sweep_page.page}
    if name not in writers:
        raise RecipeError(
            "a format that a sweep is written in", repr(name), f"It is {', '.join(writers)}."
        )
    return writers[name](source)
