"""The code of the guide on distillation runs, one snippet after the other."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch


def test_the_snippets_of_the_guide_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "docs/guides/distill-a-model.md").read_text(encoding="utf-8")
    script = tmp_path / "guide.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), "utf-8")
    monkeypatch.chdir(tmp_path)

    names = runpy.run_path(str(script))

    assert set(names["attachment"].terms) == {"logits"}
