"""Recipes that may cure what quantization did, cheapest first, each with its measured score.

To add a kind of cure, write a function from a rung to rungs and put it into `CHANGES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer import plugins, store
from gossamer.errors import GossamerError, StorageError
from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.measure.score import drop
from gossamer.result import Candidate
from gossamer.run import run
from gossamer.search.drop_worst import drop_worst
from gossamer.search.ladder import RULES, Rung

if TYPE_CHECKING:
    from gossamer.search.judge import Judge
    from gossamer.step import Calibration

Damages = tuple[tuple[str, float], ...]


def other_ranges(rung: Rung) -> Iterator[Rung]:
    """The recipe with each other rule that chooses activation ranges: costs no speed."""
    for name in RULES:
        rule = plugins.load("ranges", name)()
        steps = tuple(
            dataclasses.replace(s, ranges=rule) if isinstance(s, QuantizeStatic) else s
            for s in rung.recipe.graph_steps
        )
        if steps != rung.recipe.graph_steps:
            recipe = dataclasses.replace(rung.recipe, graph_steps=steps)
            yield dataclasses.replace(rung, label=f"static {name}", recipe=recipe)


CHANGES: tuple[Callable[[Rung], Iterator[Rung]], ...] = (other_ranges,)


@dataclass(kw_only=True, eq=False)
class Cures:
    """Tries recipes on the rows of a judge.

    Attributes:
        judge: Scores them.
        calibration: What recipes are made with.
        folder: For the files of every candidate, by digest.
        tried: Every candidate, in order.
    """

    judge: Judge
    calibration: Calibration
    folder: Path
    tried: list[Candidate] = field(default_factory=list)

    def search(self, rung: Rung, damages: Callable[[Rung], Damages], *, is_new: bool) -> Candidate:
        """The best cure: the first kind of change that is within the budget, else the least drop.

        1. Everything in `CHANGES`, and the recipe itself if it is not what is to be cured.
        2. The best of these with the worst sites in float: as few as suffice.

        Args:
            rung: The recipe to change.
            damages: Tells of a recipe's sites how much noise each makes, the worst first.
            is_new: Whether the recipe itself is to be tried.
        """
        self.judge.prepared.progress.stage("cures")
        rungs = [*([rung] if is_new else []), *(r for change in CHANGES for r in change(rung))]
        found = {r.recipe.digest(): r for r in rungs}
        for each in rungs:
            self.evaluate(each)
        best = self.best(self.tried)
        if best.within_budget or best.status != "ok":
            return best
        base = found[best.id]
        ranked = damages(base)
        self.judge.prepared.progress.stage("take sites out")
        for _ in drop_worst(base, ranked, self.evaluate, lambda: False):
            self.judge.prepared.progress.advance()
        repaired = [c for c in self.tried if c.id not in found and c.within_budget]
        return repaired[-1] if repaired else self.best(self.tried)

    def best(self, among: list[Candidate]) -> Candidate:
        """The least noise of those within the budget; the least drop where there are none."""
        within = [c for c in among if c.within_budget]
        if within:
            return max(within, key=lambda c: c.metrics["outputs_sqnr_db"])
        ok = [c for c in among if c.status == "ok"]
        return min(ok or among, key=lambda c: c.drop or 0.0)

    def path(self, candidate: Candidate) -> Path:
        """The folder with the candidate's files."""
        return self.folder / candidate.id

    def evaluate(self, rung: Rung) -> Candidate:
        """One candidate, scored, or failed with the reason."""
        judge, prepared, recipe = self.judge, self.judge.prepared, rung.recipe
        base = Candidate(
            id=recipe.digest(),
            status="failed",
            runtime=judge.runtime,
            target=recipe.target,
            label=rung.label,
            recipe=recipe.dump(),
        )
        try:
            artifact = run(
                prepared.model,
                recipe,
                self.path(base),
                self.calibration,
                prepared.progress,
            )
            judged = judge.score(artifact.path, recipe.precision)
        except StorageError:
            raise
        except GossamerError as error:
            store.remove(self.folder / base.id)
            return self._keep(dataclasses.replace(base, reason=str(error)))
        float_score = judge.float_score.value
        lost = drop(prepared.task, float_score, judged.scored.value)
        return self._keep(
            dataclasses.replace(
                base,
                status="ok",
                score=judged.scored.value,
                metrics={**judged.scored.metrics, "outputs_sqnr_db": judged.sqnr_db},
                drop=lost,
                relative_drop=lost / abs(float_score) if float_score else None,
                within_budget=prepared.max_drop.holds(lost, float_score),
                size_bytes=artifact.size_bytes,
                files=artifact.sha256(),
            )
        )

    def _keep(self, candidate: Candidate) -> Candidate:
        self.tried.append(candidate)
        self.judge.prepared.progress.candidate(candidate)
        return candidate
