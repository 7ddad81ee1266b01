"""Progress: lively on a terminal, silent everywhere else."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from gossamer.cli.progress import NOTES, SHOWN, Terminal, watch
from gossamer.memory import PeakMemory, resident_bytes
from gossamer.progress import Progress, Silent
from zoo.results import measured, sample


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = True, width: int = 140, height: int = 40) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, height=height, _environ={}
    )


def written(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def seen(terminal: Terminal) -> str:
    """What the terminal would show now, without colour."""
    with terminal.console.capture() as capture:
        terminal.console.print(terminal, no_wrap=True)
    return capture.get()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def terminal(clock: Clock) -> Terminal:
    plain = Console(
        file=io.StringIO(), force_terminal=True, no_color=True, width=140, height=40, _environ={}
    )
    return Terminal(console=plain, budget=600, clock=clock)


def work(progress: Progress) -> None:
    progress.stage("calibrate", total=4)
    progress.advance()
    for candidate in sample().candidates:
        progress.candidate(candidate)
    progress.note("two runtimes are installed")


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (False, True), (True, True)])
def test_a_pipe_and_a_quiet_run_see_nothing(
    terminal: bool, quiet: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    out = console(terminal=terminal)
    with watch(out, quiet=quiet) as progress:
        assert isinstance(progress, Silent)
        work(progress)

    assert written(out) == ""
    assert capfd.readouterr() == ("", "")


def test_a_dumb_terminal_sees_nothing() -> None:
    out = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    with watch(out, quiet=False) as progress:
        work(progress)

    assert written(out) == ""


def test_a_terminal_sees_the_work_and_stdout_stays_clean(
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = console()
    with watch(out, quiet=False, budget=600) as progress:
        work(progress)

    assert "calibrate" in written(out)
    assert "static percentile" in written(out)
    assert capfd.readouterr().out == ""


def test_the_screen_is_given_back_when_work_fails() -> None:
    out = console()
    with contextlib.suppress(KeyboardInterrupt), watch(out, quiet=False) as progress:
        work(progress)
        raise KeyboardInterrupt

    assert written(out).rstrip().endswith("\x1b[2K")
    assert "\x1b[?25h" in written(out)  # the cursor is visible again


def test_stage_pace_and_budget_are_shown(terminal: Terminal, clock: Clock) -> None:
    terminal.stage("search", total=40)
    clock.now += 20
    terminal.advance(10)

    line = seen(terminal)
    assert "search" in line
    assert "10/40" in line
    assert "ETA 1 min" in line
    assert "elapsed 20 s of 10 min" in line
    assert "peak memory" in line


def test_a_stage_of_unknown_length_has_no_eta(terminal: Terminal) -> None:
    terminal.stage("export")
    terminal.advance()

    assert "export" in seen(terminal)
    assert "ETA" not in seen(terminal)


def test_advancing_before_any_stage_is_harmless(terminal: Terminal) -> None:
    terminal.advance()

    assert "elapsed" in seen(terminal)


def test_a_new_stage_starts_from_nothing(terminal: Terminal) -> None:
    terminal.stage("calibrate", total=2)
    terminal.advance(2)
    terminal.stage("search", total=3)

    assert "0/3" in seen(terminal)
    assert "calibrate" not in seen(terminal)


def test_a_known_candidate_is_replaced(terminal: Terminal) -> None:
    first = measured("static", "ort", 0.2, 0.81, 1)
    terminal.candidate(first)
    terminal.candidate(measured("static", "ort", 0.1, 0.81, 1))

    assert seen(terminal).count("static") == 1
    assert "0.100" in seen(terminal)


def test_a_long_table_keeps_the_fastest_and_counts_the_rest(terminal: Terminal) -> None:
    for i in range(20):
        terminal.candidate(measured(f"candidate-{i:02}", "ort", 0.1 + i / 10, 0.81, 1))

    assert "candidate-00" in seen(terminal)
    assert "candidate-19" not in seen(terminal)
    assert f"and {20 - SHOWN} more" in seen(terminal)


@pytest.mark.parametrize("height", [5, 10, 24])
def test_what_is_shown_fits_the_screen(clock: Clock, height: int) -> None:
    terminal = Terminal(console=console(height=height), clock=clock)
    for i in range(20):
        terminal.candidate(measured(f"candidate {i}", "ort", 0.1 + i / 10, 0.81, 1))
    for i in range(9):
        terminal.note(f"note {i}")
    terminal.stage("search", total=20)

    assert len(seen(terminal).splitlines()) <= max(height, 5 + NOTES + 2)


def test_notes_cannot_steer_the_terminal(terminal: Terminal) -> None:
    terminal.note("\x1b]0;title\x07 [red]x[/nothing]")
    terminal.stage("\x1b[31m")

    assert "\x1b]" not in seen(terminal)
    assert "[red]x[/nothing]" in seen(terminal)


def test_silence_takes_everything() -> None:
    work(Silent())


def test_own_memory_is_counted_and_never_shrinks() -> None:
    memory = PeakMemory()
    first = memory.sample()

    assert first > 10_000_000
    assert memory.sample() >= first


def process(proc: Path, pid: int, parent: int, pages: int, name: str = "python") -> None:
    fields = ["S", str(parent), *["0"] * 19, str(pages), "0"]
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


def test_children_of_children_count_and_strangers_do_not(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, 100)
    process(tmp_path, 11, 10, 20, name="a ) (b")
    process(tmp_path, 12, 11, 3)
    process(tmp_path, 13, 1, 5000)

    assert resident_bytes(10, tmp_path) == 123 * os.sysconf("SC_PAGE_SIZE")


def test_a_circle_of_parents_ends(tmp_path: Path) -> None:
    process(tmp_path, 20, 21, 1)
    process(tmp_path, 21, 20, 1)

    assert resident_bytes(10, tmp_path) == 0


def test_without_proc_there_is_nothing_to_sum(tmp_path: Path) -> None:
    assert resident_bytes(10, tmp_path / "absent") == 0
