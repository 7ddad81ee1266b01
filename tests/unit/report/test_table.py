"""Tables of candidates for terminals, pipes and Markdown."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from gossamer.report import table
from gossamer.result import Result
from zoo.results import RESULTS, sample, winner


def shown(result: Result, *, terminal: bool, width: int = 140) -> str:
    file = io.StringIO()
    table.show(
        result, Console(file=file, force_terminal=terminal, width=width, legacy_windows=False)
    )
    return file.getvalue()


@pytest.mark.parametrize("name", RESULTS)
def test_outside_a_terminal_there_is_only_plain_text(name: str) -> None:
    text = shown(RESULTS[name](), terminal=False)

    assert "\x1b" not in text
    assert "candidate" in text.splitlines()[0]


def test_a_pipe_gets_one_whole_line_for_each_candidate() -> None:
    lines = shown(sample(), terminal=False).splitlines()

    assert len(lines[: lines.index("")]) == 1 + len(sample().candidates)
    assert any("received 'Check failed: axis'." in line for line in lines)


def test_the_winner_is_marked_in_words_and_by_a_star() -> None:
    lines = [line for line in shown(sample(), terminal=False).splitlines() if "\u2605" in line]

    assert len(lines) == 1
    assert lines[0].split()[-1] == "winner"


def test_a_terminal_gets_colour_and_the_verdict() -> None:
    text = shown(sample(), terminal=True)

    assert "\x1b[" in text
    assert "faster than the best float model on this machine." in text
    assert "gossamer-out/model" in text


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_number_is_cut_off_on_any_usual_terminal(width: int) -> None:
    text = shown(sample(), terminal=True, width=width)

    for number in ("0.0980", "0.412", "291 kB", "1.09 MB", "0.8150"):
        assert number in text


def test_a_summary_warns_of_made_up_inputs() -> None:
    assert any("made up" in line for line in table.summary(RESULTS["best effort"]()))
    assert not any("made up" in line for line in table.summary(sample()))


def test_a_summary_says_what_is_unproven_of_the_winners_target() -> None:
    result = sample(winner=replace(winner(), target="tensorrt", runtime="tensorrt"))

    assert any("not measured on a GPU" in line for line in table.summary(result))
    assert not any("not measured" in line for line in table.summary(sample()))


def test_the_front_of_a_search_is_told_with_what_it_was_looked_for() -> None:
    plain = sample()
    assert plain.winner is not None
    found = replace(plain, objectives=("latency", "size"), front=(plain.winner.id,))

    (line,) = [line for line in table.summary(found) if "latency and size" in line]
    assert plain.winner.label in line


def test_texts_are_never_read_as_rich_markup() -> None:
    odd = replace(winner(), label="[red]x[/nothing]")

    assert "[red]x[/nothing]" in shown(sample(winner=odd, candidates=(odd,)), terminal=True)


@given(st.text())
def test_no_name_can_steer_a_terminal(name: str) -> None:
    odd = replace(winner(), label=name, runtime=name, reason=name)
    result = sample(winner=odd, candidates=(odd,), reason=name, max_drop=name)
    text = shown(result, terminal=False)

    assert all(c.isprintable() or c == "\n" for c in text)


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=4))
def test_no_cell_breaks_out_of_a_markdown_table(cells: list[list[str]]) -> None:
    tokens = MarkdownIt().enable("table").parse(table.markdown_table(["a", "b"], cells))

    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == 1
    assert kinds.count("td_open") == 2 * len(cells)
    inline = [child.type for token in tokens for child in token.children or ()]
    assert set(inline) <= {"text", "text_special"}


def test_a_markdown_table_shows_its_cells_as_they_are() -> None:
    cell = "a|b <b>*x*</b> `c` [d](e) &amp; \\ ~~f~~ #"
    tokens = MarkdownIt().enable("table").parse(table.markdown_table(["h"], [[cell]]))

    assert "".join(c.content for c in tokens[-5].children or ()) == cell or cell in {
        "".join(c.content for c in token.children or ()) for token in tokens
    }
