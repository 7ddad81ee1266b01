"""What the source must not do: run code out of a model file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).resolve().parents[2] / "src").rglob("*.py"))

UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
RUNNERS = {"eval", "exec", "compile"}


def unsafe(text: str) -> list[str]:
    """Every import or call in Python source that could run what a file says."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLERS:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found += _unsafe_call(node)
    return found


def _unsafe_call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    options = {k.arg: ast.unparse(k.value) for k in node.keywords}
    if name in RUNNERS:
        return [name]
    if options.get("allow_pickle", "False") != "False":
        return ["allow_pickle"]
    if options.get("trust_remote_code", "False") != "False":
        return ["trust_remote_code"]
    if name == "torch.load" and options.get("weights_only") != "True":
        return ["torch.load without weights_only=True"]
    if name in {"yaml.load", "yaml.unsafe_load", "yaml.full_load"}:
        return [name]
    return []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_source_file_can_run_what_a_model_file_says(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "yaml.load(text)",
        "AutoModel.from_pretrained(path, trust_remote_code=flag)",
    ],
)
def test_the_rule_sees_it(text: str) -> None:
    assert unsafe(text)


@pytest.mark.parametrize(
    "text", ["model.eval()", "re.compile('a')", "torch.load(p, weights_only=True)", "np.load(p)"]
)
def test_the_rule_leaves_harmless_calls_alone(text: str) -> None:
    assert unsafe(text) == []
