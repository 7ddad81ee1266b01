"""What every search strategy must be, those of third parties included."""

from __future__ import annotations

import pytest

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.search.space import Space
from gossamer.search.strategy import Strategy

NAMES = plugins.names("strategies")
OPEN = Space.parse({"target": "ort-cpu", "graph-steps": [{"choice": ["simplify", "fuse"]}]})
DECIDED = Space.parse({"target": "ort-cpu", "graph-steps": ["simplify"]})


@pytest.mark.parametrize("name", NAMES)
def test_it_looks_in_one_kind_of_space_and_refuses_the_others(name: str) -> None:
    strategy: Strategy = plugins.load("strategies", name)()
    refused = 0
    for space in (None, OPEN, DECIDED):
        try:
            strategy.check(space)
        except RecipeError:
            refused += 1

    assert refused == 2


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_yaml(name: str) -> None:
    strategy = plugins.load("strategies", name)()

    assert plugins.parse("strategies", plugins.dump(strategy)) == strategy
