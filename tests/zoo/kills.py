"""Progress that ends work in its middle, as a kill would."""

from __future__ import annotations

from gossamer.progress import Silent


class AfterSteps(Silent):
    """Ends a training after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps + 1  # the loop tells once where it begins

    def advance(self, n: int = 1) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


class AtExport(Silent):
    """Ends a run when a step on the module is done, before its graph is there."""

    def stage(self, name: str, total: int | None = None) -> None:
        if name.startswith("export"):
            raise KeyboardInterrupt
