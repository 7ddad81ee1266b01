"""Which source a user's text names, and what is said where it names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gossamer.errors import SourceError
from gossamer.sources import find
from gossamer.sources.huggingface import HuggingFace
from gossamer.sources.onnx_file import OnnxFile
from gossamer.sources.torch_callable import TorchCallable


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_of_any_name_is_an_onnx_file(here: Path) -> None:
    (here / "weights.bin").write_bytes(b"")

    assert find("weights.bin") == OnnxFile(text="weights.bin")


def test_a_folder_with_a_config_is_a_hugging_face_model(here: Path) -> None:
    (here / "org" / "name").mkdir(parents=True)
    (here / "org" / "name" / "config.json").write_text("{}")

    assert find("org/name") == HuggingFace(text="org/name")


@pytest.mark.parametrize("text", ["org/name", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_name_with_a_slash_that_is_no_path_is_a_hub_id(text: str) -> None:
    assert find(text) == HuggingFace(text=text)


@pytest.mark.parametrize("text", ["models:resnet", "package.module:factory", "a.b:Class.build"])
def test_a_module_and_a_name_are_a_torch_callable(text: str) -> None:
    assert find(text) == TorchCallable(text=text)


@pytest.mark.parametrize("text", ["", "model", "a/b/c", "./model", "a:b:c", "3d:net", "a b/c"])
def test_text_that_names_nothing_is_an_error_with_all_three_kinds(text: str) -> None:
    with pytest.raises(SourceError, match=r"an ONNX file, a Hugging Face folder or hub id"):
        find(text)


@pytest.mark.parametrize("text", ["resnet5.onnx", "./resnet5.onnx", "models/resnet.onnx"])
def test_a_misspelt_file_is_met_with_its_neighbours(here: Path, text: str) -> None:
    (here / "resnet50.onnx").write_bytes(b"")
    (here / "models").mkdir()
    (here / "models" / "resnet50.onnx").write_bytes(b"")
    with pytest.raises(SourceError, match=r"does not exist.*Did you mean \S*resnet50.onnx\?"):
        find(text)


def test_a_file_in_a_folder_that_is_not_there_is_said_so() -> None:
    with pytest.raises(SourceError, match="There is no folder nowhere either"):
        find("nowhere/model.onnx")


def test_a_folder_without_models_around_is_named(here: Path) -> None:
    with pytest.raises(SourceError, match=f"No model lies in {here}"):
        find("model.onnx")


def test_a_folder_of_onnx_files_asks_for_one_of_them(here: Path) -> None:
    (here / "zoo").mkdir()
    (here / "zoo" / "a.onnx").write_bytes(b"")
    with pytest.raises(SourceError, match=r"which is no model folder.*a\.onnx: give that file"):
        find("zoo")


def test_an_empty_folder_is_told_what_a_model_folder_holds(here: Path) -> None:
    (here / "zoo").mkdir()
    with pytest.raises(SourceError, match=r"config\.json and model\.safetensors"):
        find("zoo")
