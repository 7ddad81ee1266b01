"""Progress for a person at a terminal: stage, ETA, memory and the candidates as they come."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gossamer.memory import PeakMemory
from gossamer.progress import Progress, Silent
from gossamer.report import words
from gossamer.report.markup import printable
from gossamer.report.table import candidate_table, rows

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from gossamer.result import Candidate

SHOWN = 12  # candidates in the live table; the final one shows all
NOTES = 3
# Once a second is enough for people, and a redraw costs some milliseconds of a core that may be
# measuring latency at that moment. Events redraw at once.
REFRESH_HZ = 1.0


@dataclass(kw_only=True)
class Stage:
    """How far one stage is."""

    name: str
    total: int | None
    started: float
    done: int = 0

    def remaining(self, now: float) -> float | None:
        """Seconds that are left at the pace so far; None if nobody can tell."""
        if not self.total or not self.done:
            return None
        return (now - self.started) * max(self.total - self.done, 0) / self.done


@dataclass(kw_only=True)
class Terminal:
    """Progress drawn on a terminal; rich redraws it by calling `__rich__`.

    Attributes:
        budget: Seconds that the user gave, None if there is no limit.
        clock: Seconds that only grow.
    """

    console: Console
    budget: float | None = None
    clock: Callable[[], float] = time.monotonic
    changed: Callable[[], None] = lambda: None
    memory: PeakMemory = field(default_factory=PeakMemory)
    current: Stage | None = None
    candidates: dict[tuple[str, str], Candidate] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def stage(self, name: str, total: int | None = None) -> None:
        """The new stage is drawn at once."""
        self.current = Stage(name=printable(name, ""), total=total, started=self.clock())
        self.changed()

    def advance(self, n: int = 1) -> None:
        """Counted now, drawn with the next refresh."""
        if self.current is not None:
            self.current.done += n

    def candidate(self, candidate: Candidate) -> None:
        """The candidate's row appears, or changes."""
        self.candidates[candidate.id, candidate.target] = candidate
        self.changed()

    def note(self, text: str) -> None:
        """The last few notes stay in sight."""
        self.notes = [*self.notes, printable(text, "")][-NOTES:]
        self.changed()

    def __rich__(self) -> Group:
        """What the terminal shows now."""
        from rich.console import Group
        from rich.text import Text

        parts: list[Text | Table] = []
        # a copy: the refresh thread draws while the work goes on adding
        known = list(self.candidates.values())
        if known:
            shown = rows(known)[: self._room()]
            table = candidate_table(shown, self.console.width)
            # one line for each row, or a long reason would push the table off the screen
            table.columns[-1].no_wrap, table.columns[-1].overflow = True, "ellipsis"
            parts.append(table)
            if len(shown) < len(known):
                parts.append(Text(f"  and {len(known) - len(shown)} more", style="dim"))
        parts += [Text(f"  {note}", style="dim", overflow="ellipsis") for note in self.notes]
        parts.append(self._line())
        return Group(*parts)

    def _room(self) -> int:
        return max(1, min(SHOWN, self.console.height - NOTES - 8))

    def _line(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = self.clock()
        line = Table.grid(padding=(0, 2))
        cells: list[Text | ProgressBar] = []
        stage = self.current
        if stage is not None:
            cells.append(Text(stage.name, style="bold"))
            if stage.total:
                bar = ProgressBar(
                    total=stage.total, completed=min(stage.done, stage.total), width=20
                )
                cells += [bar, Text(f"{stage.done}/{stage.total}")]
            left = stage.remaining(now)
            if left:
                cells.append(Text(f"ETA {words.duration(left)}"))
        cells.append(Text(self._elapsed(now)))
        cells.append(Text(f"peak memory {words.size(self.memory.sample())}"))
        line.add_row(*cells)
        return line

    def _elapsed(self, now: float) -> str:
        spent = now - self.started
        text = f"elapsed {words.duration(spent)}"
        return text if self.budget is None else f"{text} of {words.duration(self.budget)}"


@contextlib.contextmanager
def watch(console: Console, *, quiet: bool, budget: float | None = None) -> Iterator[Progress]:
    """Progress on `console` while the block runs; silent in a pipe, or when asked to be quiet.

    Nothing of it stays on the screen: the final table is for the caller to print.

    Args:
        console: A console on stderr; stdout is never written to.
        quiet: Whether the user wants none (`--json`, `--quiet`).
        budget: The time budget in seconds.
    """
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield Silent()
        return
    from rich.live import Live

    terminal = Terminal(console=console, budget=budget)
    live = Live(
        terminal,
        console=console,
        refresh_per_second=REFRESH_HZ,
        transient=True,
        redirect_stdout=False,
    )
    terminal.changed = live.refresh
    with live:
        yield terminal
