"""Every file of a plug-in family holds exactly one member, usable as the rules say."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing

import pytest

from gossamer import plugins

MEMBERS = [(family, name) for family in plugins.FAMILIES for name in plugins.names(family)]


def is_complete(member: type) -> bool:
    """Whether a member needs no options."""
    missing = dataclasses.MISSING
    return all(
        field.default is not missing or field.default_factory is not missing
        for field in dataclasses.fields(member)
    )


@pytest.mark.parametrize("family", plugins.FAMILIES)
def test_a_family_has_members(family: str) -> None:
    assert plugins.names(family)


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_file_holds_exactly_one_member(family: str, name: str) -> None:
    assert plugins.load(family, name) is not None


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_member_is_a_frozen_value(family: str, name: str) -> None:
    member = plugins.load(family, name)
    kind = member if isinstance(member, type) else type(member)

    assert dataclasses.is_dataclass(kind)
    assert typing.cast("typing.Any", kind).__dataclass_params__.frozen


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_class_is_no_deeper_than_base_and_member_and_leaves_nothing_abstract(
    family: str, name: str
) -> None:
    member = plugins.load(family, name)
    base = plugins.FAMILIES[family][1].split(":")[1]

    if isinstance(member, type):
        assert not inspect.isabstract(member)
        assert [b.__name__ for b in member.__bases__] == [base]


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_options_have_types_that_yaml_can_be_checked_against(family: str, name: str) -> None:
    member = plugins.load(family, name)

    if isinstance(member, type):
        assert typing.get_type_hints(member) is not None


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_member_with_defaults_survives_dump_and_parse(family: str, name: str) -> None:
    member = plugins.load(family, name)

    if isinstance(member, type) and is_complete(member):
        value = plugins.parse(family, name)
        assert plugins.parse(family, plugins.dump(value)) == value
        assert list(plugins.dump(value)) == [name]


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_member_says_in_one_line_what_it_is(family: str, name: str) -> None:
    member = plugins.load(family, name)
    package = plugins.FAMILIES[family][0]
    module = importlib.import_module(f"{package}.{name.replace('-', '_')}")

    text = inspect.getdoc(member if isinstance(member, type) else module) or ""

    assert text.splitlines()[:1] != [""]
    assert text.splitlines()[0].endswith(".")
