"""Taking the worst sites out by bisection."""

from __future__ import annotations

import math

import pytest

from gossamer.graph.steps.quantize_static import QuantizeStatic
from gossamer.result import Candidate
from gossamer.search.drop_worst import drop_worst, without
from gossamer.search.ladder import Rung, static_recipe

SITES = tuple((f"site{i:02}", float(64 - i)) for i in range(64))


def rung() -> Rung:
    recipe = static_recipe("ort-cpu", "portable", 0)
    return Rung(label="static min-max", recipe=recipe, placement="ort-cpu static")


def excluded(candidate: Rung) -> tuple[str, ...]:
    step = candidate.recipe.graph_steps[-1]
    assert isinstance(step, QuantizeStatic)
    return step.reverted


def judge(needed: int, tried: list[int]):
    """Within the budget once the `needed` worst sites are out."""

    def evaluate(candidate: Rung) -> Candidate:
        out = excluded(candidate)
        assert out == tuple(sorted(name for name, _ in SITES[: len(out)]))
        tried.append(len(out))
        return Candidate(
            id=candidate.recipe.digest(),
            status="ok",
            runtime="ort",
            target="ort-cpu",
            label=candidate.label,
            recipe=candidate.recipe.dump(),
            within_budget=len(out) >= needed,
        )

    return evaluate


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 8, 21, 32])
def test_the_fewest_sites_that_suffice_are_found_in_few_evaluations(needed: int) -> None:
    tried: list[int] = []
    found = list(drop_worst(rung(), SITES, judge(needed, tried), lambda: False))
    passing = [n for n, c in zip(tried, found, strict=True) if c.within_budget]
    assert min(passing) == needed
    assert len(tried) <= 2 * math.ceil(math.log2(needed) + 1)


def test_nothing_is_within_the_budget_when_no_exclusion_suffices() -> None:
    tried: list[int] = []
    found = list(drop_worst(rung(), SITES, judge(1000, tried), lambda: False))
    assert not any(c.within_budget for c in found)
    assert tried == [1, 2, 4, 8, 16, 32]


def test_it_stops_when_the_time_is_up() -> None:
    tried: list[int] = []
    assert list(drop_worst(rung(), SITES, judge(3, tried), lambda: True)) == []
    assert tried == []


def test_excluding_more_sites_keeps_what_was_excluded_and_makes_another_recipe() -> None:
    once = without(rung(), ("b", "a"))
    twice = without(once, ("c", "a"))
    assert excluded(once) == ("a", "b")
    assert excluded(twice) == ("a", "b", "c")
    assert len({r.recipe.digest() for r in (rung(), once, twice)}) == 3
