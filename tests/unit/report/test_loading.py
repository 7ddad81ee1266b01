"""The code of the model card is run as a reader would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx.parser
import pytest

from gossamer.report import loading
from gossamer.report.formats.card import Card
from gossamer.result import Candidate
from zoo.results import baseline, sample, winner

MODEL = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[N, 3, 4] x, int64[N, S] ids) => (float[N, 3, 4] y, int64[N, S] z) {
    y = Relu(x)
    z = Add(ids, ids)
}
"""


def save(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(MODEL).SerializeToString())
    return path


def run_card(candidate: Candidate, folder: Path) -> list[str]:
    """Lines that the code of the card prints."""
    card = Card().render(sample(winner=candidate, candidates=(candidate,)))
    found = re.search(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-c", found[1]], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_card_of_an_ort_model_loads_and_runs_it(tmp_path: Path) -> None:
    save(tmp_path / "model")

    assert run_card(winner(), tmp_path) == ["y (1, 3, 4)", "z (1, 1)"]


@pytest.mark.openvino
def test_the_card_of_an_openvino_model_loads_and_runs_it(tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    model = ov.convert_model(save(tmp_path / "model"))
    ov.save_model(model, tmp_path / "model" / "model.xml")

    lines = run_card(replace(baseline(), path="model"), tmp_path)

    assert lines == ["y (1, 3, 4)", "z (1, 1)"]


@pytest.mark.torch
def test_the_card_of_a_torch_model_loads_and_runs_it(tmp_path: Path) -> None:
    save(tmp_path / "model")

    lines = run_card(replace(winner(), runtime="torch-cpu"), tmp_path)

    assert lines == ["y (1, 3, 4)", "z (1, 1)"]


def test_a_float32_model_asks_openvino_for_float32() -> None:
    code = loading.snippet(replace(baseline(), path="model"))

    assert code is not None
    assert '{"INFERENCE_PRECISION_HINT": "f32"}' in code


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_a_model_with_a_tokenizer_is_fed_with_text(name: str) -> None:
    files = {name: "0" * 64, "tokenizer.json": "1" * 64}
    code = loading.snippet(replace(winner(), files=files))

    assert code is not None
    assert 'AutoTokenizer.from_pretrained("model")' in code
    assert "{{" not in code
    compile(code, "card", "exec")


@pytest.mark.parametrize("change", [{"path": None}, {"files": {}}])
def test_nothing_kept_is_nothing_to_load(change: dict[str, object]) -> None:
    assert loading.snippet(replace(winner(), **change)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ['a"b', "a\\b", "a\nb", "\N{GREEK SMALL LETTER ALPHA}"])
def test_odd_paths_stay_inside_their_quotes(path: str) -> None:
    plain, code = (loading.snippet(replace(winner(), path=p)) for p in ("model", path))

    assert plain is not None
    assert code is not None
    compile(code, "card", "exec")
    assert len(code.splitlines()) == len(plain.splitlines())
