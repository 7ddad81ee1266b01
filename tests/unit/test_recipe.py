"""Recipes: data both ways, and a digest that changes with the recipe alone."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gossamer import plugins
from gossamer.errors import RecipeError
from gossamer.recipe import Recipe
from gossamer.step import GraphStep


def steps(family: str = "steps") -> list[GraphStep]:
    """A value of every step that needs no options."""
    return [
        plugins.parse(family, name)
        for name in plugins.names(family)
        if not any(is_required(f) for f in dataclasses.fields(plugins.load(family, name)))
    ]


def is_required(field: dataclasses.Field[object]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


recipes = st.builds(
    Recipe,
    target=st.sampled_from(plugins.names("targets")),
    cpu=st.sampled_from(["portable", "native", "avx2", "vnni"]),
    precision=st.sampled_from(["default", "f32"]),
    seed=st.integers(0, 2**31),
    module_steps=st.lists(
        st.deferred(lambda: st.sampled_from(steps("module-steps"))), max_size=2
    ).map(tuple),
    graph_steps=st.lists(st.deferred(lambda: st.sampled_from(steps())), max_size=3).map(tuple),
)


@given(recipe=recipes)
def test_yaml_both_ways_gives_the_same_recipe_and_digest(recipe: Recipe) -> None:
    text = yaml.safe_dump(recipe.dump())

    again = Recipe.parse(yaml.safe_load(text))

    assert again == recipe
    assert again.digest() == recipe.digest()


def test_the_digest_is_twelve_hexadecimal_digits() -> None:
    digest = Recipe(target="ort-cpu").digest()

    assert len(digest) == 12
    assert int(digest, 16) >= 0


@given(recipe=recipes)
def test_another_seed_is_another_digest(recipe: Recipe) -> None:
    assert dataclasses.replace(recipe, seed=recipe.seed + 1).digest() != recipe.digest()


def test_defaults_are_written_out() -> None:
    assert Recipe(target="ort-cpu").dump() == {
        "target": "ort-cpu",
        "cpu": "portable",
        "precision": "default",
        "seed": 0,
        "graph-steps": [],
    }


def test_dash_and_underscore_are_one_character_in_keys_and_targets() -> None:
    recipe = Recipe.parse({"target": "ort_cpu", "graph_steps": []})

    assert recipe == Recipe(target="ort-cpu")


@pytest.mark.parametrize("value", [None, [], "ort-cpu", {}, {"cpu": "avx2"}])
def test_without_a_target_it_is_no_recipe(value: object) -> None:
    with pytest.raises(RecipeError, match="needed a mapping with the key target"):
        Recipe.parse(value)


def test_an_unknown_key_lists_the_real_ones() -> None:
    with pytest.raises(RecipeError, match=r"Did you mean graph-steps\? There are: target, cpu"):
        Recipe.parse({"target": "ort-cpu", "graph-step": []})


def test_an_unknown_step_lists_the_real_ones() -> None:
    with pytest.raises(RecipeError, match="needed a name from the family steps; received 'no-su"):
        Recipe.parse({"target": "ort-cpu", "graph-steps": ["no-such-step"]})


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", "soon"), ("seed", None), ("seed", True), ("graph-steps", 3), ("graph-steps", "x")],
)
def test_a_wrong_value_is_an_error_that_names_the_key(key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=f"for {key}; received {value!r}"):
        Recipe.parse({"target": "ort-cpu", key: value})


def test_an_unknown_precision_lists_the_real_ones() -> None:
    with pytest.raises(RecipeError, match=r"received 'f64'.*There are: default, f32"):
        Recipe.parse({"target": "ort-cpu", "precision": "f64"})
