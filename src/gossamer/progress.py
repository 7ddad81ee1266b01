"""What long work tells about itself while it runs; who listens is not its business."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gossamer.result import Candidate


class Progress(Protocol):
    """Something that is told how far the work is."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins and the one before it ends.

        Args:
            name: What is being done, as people say it ("calibrate").
            total: Steps of the stage, None when nobody knows.
        """

    def advance(self, n: int = 1) -> None:
        """`n` more steps of the current stage are done."""

    def candidate(self, candidate: Candidate) -> None:
        """A candidate is finished (measured, failed or skipped); a known id is replaced."""

    def note(self, text: str) -> None:
        """One sentence that a person watching wants to know."""


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Nothing is shown."""

    def advance(self, n: int = 1) -> None:
        """Nothing is shown."""

    def candidate(self, candidate: Candidate) -> None:
        """Nothing is shown."""

    def note(self, text: str) -> None:
        """Nothing is shown."""
