"""Recipes with open places."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import RecipeError
from gossamer.search.space import Choice, Open, Space

RECIPE = {
    "target": {"choice": ["ort-cpu", "openvino-cpu"]},
    "steps": [
        "simplify",
        {"choice": [None, "fuse"]},
        {
            "quantize-static": {
                "ranges": {
                    "choice": ["mse", {"percentile": {"p": {"range": {"low": 90, "high": 99}}}}]
                },
                "weight-bits": {"range": {"low": 4, "high": 8, "step": 4}},
            }
        },
    ],
}


def fixed(answers: dict[str, Any]) -> Any:
    return Space.parse(RECIPE).pick(lambda name, _: answers[name])


def test_every_open_place_is_decided_by_its_name() -> None:
    found = fixed(
        {
            "target": "openvino-cpu",
            "steps[1]": "fuse",
            "steps[2].quantize-static.ranges": "percentile",
            "steps[2].quantize-static.ranges=percentile.percentile.p": 95,
            "steps[2].quantize-static.weight-bits": 4,
        }
    )

    static = {"ranges": {"percentile": {"p": 95}}, "weight-bits": 4}
    assert found == {
        "target": "openvino-cpu",
        "steps": ["simplify", "fuse", {"quantize-static": static}],
    }


def test_places_in_what_was_not_chosen_are_not_asked_and_null_leaves_an_item_out() -> None:
    found = fixed(
        {
            "target": "ort-cpu",
            "steps[1]": "null",
            "steps[2].quantize-static.ranges": "mse",
            "steps[2].quantize-static.weight-bits": 8,
        }
    )

    assert found["steps"] == ["simplify", {"quantize-static": {"ranges": "mse", "weight-bits": 8}}]


def test_a_grid_has_every_combination_once() -> None:
    points = list(Space.parse(RECIPE).points())
    made = [repr(fixed(point)) for point in points]

    assert len(points) == 2 * 2 * (1 + 10) * 2
    assert len(set(made)) == len(made)


def test_a_grid_needs_an_end() -> None:
    with pytest.raises(RecipeError, match="a step for the range p"):
        list(Space.parse({"p": {"range": {"low": 0.5, "high": 1.0}}}).points())
    wide = {"range": {"low": 1, "high": 10**6}}
    with pytest.raises(RecipeError, match="at most 100000 combinations"):
        list(Space.parse({"p": wide}).points())


@pytest.mark.parametrize(
    ("written", "needed"),
    [
        ({"choice": []}, "a list of values for the choice at recipe.p"),
        ({"choice": "mse"}, "a list of values"),
        ({"choice": [1, 1]}, "values that differ"),
        ({"range": {"low": 1}}, "low and high"),
        ({"range": {"low": 2, "high": 1}}, "low below high"),
        ({"range": {"low": 0, "high": 1, "log": True}}, "a positive low with log"),
        ({"range": {"low": 1, "high": 9, "step": 2, "log": True}}, "step or log"),
        ({"range": {"low": "one", "high": 2}}, "a number for recipe.p.low"),
        ({"range": {"low": True, "high": 2}}, "a number for recipe.p.low"),
    ],
)
def test_open_places_that_say_nothing_are_refused(written: Any, needed: str) -> None:
    with pytest.raises(RecipeError, match=needed):
        Space.parse({"p": written})


@given(
    low=st.integers(-50, 50), count=st.integers(1, 40), step=st.one_of(st.none(), st.integers(1, 9))
)
def test_the_points_of_a_range_lie_in_it(low: int, count: int, step: int | None) -> None:
    written = {"low": low, "high": low + count, **({"step": step} if step else {})}
    points = [point["p"] for point in Space.parse({"p": {"range": written}}).points()]

    assert points == list(range(low, low + count + 1, step or 1))


def test_two_choices_of_one_plug_in_are_told_apart() -> None:
    values = [{"percentile": {"p": 99}}, {"percentile": {"p": 99.9}}, "mse"]
    space = Space.parse({"ranges": {"choice": values}})
    seen: list[Open] = []

    def ask(_: str, place: Open) -> str:
        seen.append(place)
        assert isinstance(place, Choice)
        return place.labels[1]

    assert space.pick(ask) == {"ranges": {"percentile": {"p": 99.9}}}
    assert len(seen) == 1


def test_numbers_as_people_write_them() -> None:
    (first, *_, last) = Space.parse(
        {"p": {"range": {"low": 0.1, "high": "5e-1", "step": 0.1}}}
    ).points()

    assert (first["p"], last["p"]) == (pytest.approx(0.1), pytest.approx(0.5))
