"""The docs are true: links lead somewhere, commands exist, code in guides runs."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from gossamer import plugins
from gossamer.result import Candidate, Result

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"(?:`|^)gossamer ([a-z][^`\n]*)", re.MULTILINE)
GUIDES = [
    ("add-a-target", "targets"),
    ("add-a-range-rule", "ranges"),
    ("add-a-rounding", "roundings"),
    ("add-a-task", "tasks"),
]


def short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def code(page: Path, language: str) -> list[str]:
    return [m[2] for m in FENCE.finditer(page.read_text(encoding="utf-8")) if m[1] == language]


def module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_make_targets_exist(page: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert set(named) - targets == set()


def test_commands_and_options_of_gossamer_exist() -> None:
    from gossamer.cli.main import commands

    known = {name: {o for p in c.params for o in p.opts} for name, c in commands.commands.items()}
    for page in PAGES:
        for line in COMMAND.findall(page.read_text(encoding="utf-8")):
            command, *words = line.split("#")[0].split()
            assert command in known, f"{page.name}: gossamer {line}"
            options = {word for word in words if word.startswith("--")}
            assert options <= known[command], f"{page.name}: gossamer {line}"


def test_commands_and_options_of_the_workflow_exist() -> None:
    from gossamer.cli.main import commands

    path = REPOSITORY / "docs" / "guides" / "gossamer-gate.yml"
    steps = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]["gate"]["steps"]
    lines = [words for s in steps if (words := s.get("run", "").split())[:1] == ["gossamer"]]

    assert [line[1] for line in lines] == ["compress", "check"]
    for _, command, *words in lines:
        known = {o for p in commands.commands[command].params for o in p.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_the_example_of_the_readme_is_fifteen_lines_of_real_names() -> None:
    (example,) = code(REPOSITORY / "README.md", "python")
    kinds = {"result": Result, "winner": Candidate, "candidate": Candidate}

    used = [
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]

    assert len(example.splitlines()) <= 15
    for name, attribute in used:
        if name in kinds:
            assert attribute in {f.name for f in dataclasses.fields(kinds[name])}


def test_the_readme_has_one_place_for_the_measured_table() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")

    assert text.count("<!-- measured:begin -->") == text.count("<!-- measured:end -->") == 1


@pytest.mark.parametrize(("guide", "family"), GUIDES)
def test_the_code_of_a_guide_is_one_member_of_its_family(
    guide: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = code(REPOSITORY / "docs" / "guides" / f"{guide}.md", "python")
    package = tmp_path / "family_of_a_guide"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "example.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(plugins.FAMILIES, family, (package.name, plugins.FAMILIES[family][1]))

    try:
        assert plugins.names(family) == ("example",)
        assert plugins.parse(family, "example") is not None
    finally:
        for name in [name for name in sys.modules if name.startswith(package.name)]:
            del sys.modules[name]


def test_the_reference_is_what_make_docs_writes() -> None:
    reference = module("reference", REPOSITORY / "scripts" / "reference.py")

    for path, text in reference.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run: make docs"
    assert list(reference.stale()) == [], "run: make docs"


@pytest.mark.parametrize("family", plugins.FAMILIES)
def test_every_member_and_option_is_in_the_reference(family: str) -> None:
    text = (REPOSITORY / "docs" / "reference" / f"{family}.md").read_text(encoding="utf-8")

    for name in plugins.names(family):
        assert f"\n## {name}\n" in text
        member = plugins.load(family, name)
        own = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for field in dataclasses.fields(member) if isinstance(member, type) else ():
            row = rf"^\| `{field.name.replace('_', '-')}` \| .+ \| \S.* \|$"
            assert re.search(row, own, re.MULTILINE), f"no words for {field.name} of {name}"
