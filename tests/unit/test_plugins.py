"""Plug-ins: looked up by file name, parsed from YAML values and dumped again.

The family here lies in a temporary package, so that its members are known.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer import plugins
from gossamer.errors import MissingDependency, RecipeError

FAMILY = {
    "shapes_of_tests": {
        "__init__": "",
        "_shared": "raise RuntimeError('only members are imported')",
        "base": "class Shape: ...",
        "round_one": """
            from __future__ import annotations
            from dataclasses import dataclass
            from typing import Literal
            from shapes_of_tests.base import Shape

            @dataclass(frozen=True, kw_only=True)
            class RoundOne(Shape):
                radius: float
                corners: int = 0
                name: str = "round"
                fill: Literal["solid", "half-open"] = "solid"
                sizes: tuple[int, ...] = (1, 2)
                inner: Shape | None = None
            """,
        "dot": """
            from shapes_of_tests.base import Shape

            DOT = Shape()
            """,
        "two": """
            from shapes_of_tests.base import Shape

            ONE, OTHER = Shape(), Shape()
            """,
        "needy": "import a_package_that_nobody_has",
    }
}


@pytest.fixture(autouse=True)
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for package, files in FAMILY.items():
        (tmp_path / package).mkdir()
        for stem, text in files.items():
            (tmp_path / package / f"{stem}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    family = ("shapes_of_tests", "shapes_of_tests.base:Shape")
    monkeypatch.setitem(plugins.FAMILIES, "shapes", family)
    yield
    for name in [name for name in sys.modules if name.startswith("shapes_of_tests")]:
        del sys.modules[name]


def test_names_are_file_stems_with_dashes_and_nothing_is_imported_for_them() -> None:
    assert plugins.names("shapes") == ("base", "dot", "needy", "round-one", "two")
    assert not any(name.startswith("shapes_of_tests.") for name in sys.modules)


def test_dash_and_underscore_are_one_character() -> None:
    assert plugins.load("shapes", "round-one") is plugins.load("shapes", "round_one")


def test_a_family_of_pure_data_gives_the_instance() -> None:
    assert not isinstance(plugins.load("shapes", "dot"), type)
    assert plugins.parse("shapes", "dot") is plugins.load("shapes", "dot")


def test_an_unknown_name_lists_the_real_ones_and_guesses() -> None:
    with pytest.raises(RecipeError, match=r"Did you mean round-one\? There are: base, dot, "):
        plugins.load("shapes", "round_on")


def test_an_unknown_family_lists_the_real_ones() -> None:
    with pytest.raises(RecipeError, match=r"needed a plug-in family; .*'shape'.*shapes"):
        plugins.names("shape")


def test_a_file_with_two_members_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"exactly one Shape in shapes_of_tests\.two; received 2"):
        plugins.load("shapes", "two")


def test_parse_gives_the_value_with_its_defaults() -> None:
    value = plugins.parse("shapes", {"round-one": {"radius": 2}})

    assert (value.radius, value.corners, value.sizes) == (2.0, 0, (1, 2))
    assert isinstance(value.radius, float)


def test_dump_writes_every_default_and_parse_reads_it_back() -> None:
    value = plugins.parse("shapes", {"round_one": {"radius": 2.5, "sizes": [3]}})

    dumped = plugins.dump(value)

    assert dumped == {
        "round-one": {
            "radius": 2.5,
            "corners": 0,
            "name": "round",
            "fill": "solid",
            "sizes": [3],
            "inner": None,
        }
    }
    assert plugins.parse("shapes", dumped) == value


def test_a_member_inside_a_member_is_parsed_and_dumped_too() -> None:
    value = plugins.parse(
        "shapes", {"round-one": {"radius": 1, "inner": {"round-one": {"radius": 2}}}}
    )

    assert value.inner.radius == 2.0
    assert plugins.parse("shapes", plugins.dump(value)) == value


@pytest.mark.parametrize(("text", "number"), [("5e-5", 5e-5), ("+1E3", 1000.0), ("-2e+1", -20.0)])
def test_a_number_that_yaml_takes_for_a_text_is_one(text: str, number: float) -> None:
    assert plugins.parse("shapes", {"round-one": {"radius": text}}).radius == number


def test_a_choice_takes_either_dash() -> None:
    value = plugins.parse("shapes", {"round-one": {"radius": 1, "fill": "half_open"}})

    assert value.fill == "half-open"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"radios": 1}, r"needed a field of round-one; received 'radios'. Did you mean radius\?"),
        ({"radius": "nan"}, r"needed a number for round-one.radius; received 'nan'"),
        ({"radius": "big"}, r"needed a number for round-one.radius; received 'big'"),
        ({"radius": 1, "corners": True}, r"a whole number for round-one.corners; received True"),
        ({"radius": 1, "corners": 1.5}, r"a whole number for round-one.corners; received 1.5"),
        ({"radius": 1, "sizes": 3}, r"needed a list for round-one.sizes; received 3"),
        ({"radius": 1, "fill": "none"}, r"a value of round-one.fill; .*: solid, half-open"),
        ({}, r"needed all fields of round-one; received {}.*radius"),
    ],
)
def test_a_wrong_field_is_an_error_that_says_what_fits(fields: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        plugins.parse("shapes", {"round-one": fields})


@pytest.mark.parametrize("value", [None, 3, {}, {"a": {}, "b": {}}, {1: {}}, {"dot": [1]}])
def test_a_value_that_names_no_member_is_an_error(value: object) -> None:
    with pytest.raises(RecipeError, match=r"a name or \{name: \{field: value\}\} in shapes"):
        plugins.parse("shapes", value)


def test_third_parties_add_members_through_entry_points(tmp_path: Path) -> None:
    installed = tmp_path / "third_party-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[gossamer.shapes]\nfar_away = shapes_of_tests.dot:DOT\n"
    )

    assert "far-away" in plugins.names("shapes")
    assert plugins.load("shapes", "far-away") is plugins.load("shapes", "dot")


def test_require_names_the_package_and_the_extra() -> None:
    with pytest.raises(MissingDependency, match=r"a_package_that_nobody_has for .*gossamer\[hf\]"):
        plugins.require("a_package_that_nobody_has.part", "hf", "reading folders")


def test_require_gives_the_module() -> None:
    assert plugins.require("json", "none", "a test") is sys.modules["json"]


def test_family_of_knows_base_classes_only() -> None:
    base = plugins.FAMILIES["shapes"][1]
    shape = type(plugins.load("shapes", "dot"))

    assert base.endswith(shape.__name__)
    assert plugins.family_of(shape) == "shapes"
    assert plugins.family_of(int) is None
    assert plugins.family_of("text") is None
