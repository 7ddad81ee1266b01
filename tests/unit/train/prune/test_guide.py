"""What docs/guides/prune-with-masks.md shows runs, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

GUIDE = Path("docs/guides/prune-with-masks.md")


def test_the_guide_runs(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (repository / GUIDE).read_text(encoding="utf-8")
    names: dict[str, object] = {}

    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)

    (shown,) = re.findall(r"```\n(0: .*?)```", text, re.DOTALL)
    words = re.compile(r"\d+ of")  # how the training went differs between machines
    assert words.sub("some of", capsys.readouterr().out) == words.sub("some of", shown)
