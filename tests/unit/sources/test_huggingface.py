"""Hugging Face folders: opened as float32 with their tokenizer beside, or refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from gossamer.errors import SourceError
from gossamer.export.agree import outputs_on_ort
from gossamer.source import FloatModel, TensorType
from gossamer.sources import find

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT classifier in half precision, with files of a tokenizer beside it."""
    import torch
    import transformers

    config = transformers.BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertForSequenceClassification(config).half().save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "vocab.txt").write_text("[PAD]")
    (folder / "notes.md").write_text("nothing that ships")
    return folder


@pytest.fixture(scope="module")
def opened(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return find(str(bert)).open(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def change(folder: Path, **settings: object) -> None:
    path = folder / "config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(config | settings))


def test_it_opens_with_open_batch_and_sequence(opened: FloatModel) -> None:
    assert opened.inputs == tuple(
        TensorType(name=name, dtype="int64", shape=("batch", "sequence"))
        for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    assert opened.outputs == (TensorType(name="logits", dtype="float32", shape=("batch", 2)),)


def test_the_graph_gives_the_numbers_of_the_module_in_float32(
    opened: FloatModel, bert: Path
) -> None:
    import torch
    import transformers

    module = transformers.BertForSequenceClassification.from_pretrained(bert, dtype=torch.float32)
    rng = np.random.default_rng(0)
    feed = {
        "input_ids": rng.integers(0, 100, (4, 40)),
        "attention_mask": np.tril(np.ones((4, 40), np.int64), 36),
        "token_type_ids": rng.integers(0, 2, (4, 40)),
    }
    with torch.no_grad():
        expected = module(**{k: torch.from_numpy(v) for k, v in feed.items()}).logits.numpy()
    received = outputs_on_ort(opened.path, [feed])[0]["logits"]

    assert np.abs(received - expected).max() < 1e-5 * np.abs(expected).max()


def test_weights_are_stored_as_float32_under_their_parameter_paths(opened: FloatModel) -> None:
    weights = {i.name: i.data_type for i in onnx.load(opened.path).graph.initializer}

    assert weights["classifier.weight"] == onnx.TensorProto.FLOAT
    assert weights["bert.embeddings.word_embeddings.weight"] == onnx.TensorProto.FLOAT


def test_its_attentions_are_found_by_the_fusions_of_the_runtime(opened: FloatModel) -> None:
    import onnx_ir as ir
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    _, counts = optimize_for_ort(ir.load(opened.path))

    assert counts["attention"] == 2


def test_tokenizer_and_config_go_with_it_and_weights_do_not(opened: FloatModel, bert: Path) -> None:
    assert opened.folder == bert
    assert [p.name for p in opened.companions] == ["config.json", "tokenizer.json", "vocab.txt"]
    assert all(p.parent == bert for p in opened.companions)


def test_its_head_names_the_task(opened: FloatModel) -> None:
    assert opened.task == "text-classification"


def test_opening_again_needs_no_torch(opened: FloatModel, bert: Path) -> None:
    written = opened.path.stat().st_mtime_ns
    cache = opened.path.parents[2]

    assert find(str(bert)).open(cache) == opened
    assert opened.path.stat().st_mtime_ns == written


# -- what config and weights must be --


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json", r"a readable .*config.json; received JSONDecodeError"),
        ("[]", "a transformers configuration.*without model_type"),
        ('{"architectures": ["X"]}', "without model_type"),
    ],
)
def test_a_config_that_is_none_is_refused(copy: Path, content: str, said: str) -> None:
    (copy / "config.json").write_text(content)
    with pytest.raises(SourceError, match=said):
        find(str(copy)).open(copy / "cache")


def test_an_unknown_architecture_is_met_with_its_neighbours(copy: Path) -> None:
    change(copy, architectures=["BertForSequenceClasification"])
    with pytest.raises(SourceError, match=r"Near it: BertForSequenceClassification"):
        find(str(copy)).open(copy / "cache")


def test_a_model_with_code_of_its_own_is_told_that_it_is_not_run(copy: Path) -> None:
    change(copy, architectures=["OwnModel"], auto_map={"AutoModel": "modeling.OwnModel"})
    with pytest.raises(SourceError, match=r"'OwnModel' in config.json. Its own code is not run"):
        find(str(copy)).open(copy / "cache")


def test_quantized_weights_are_refused(copy: Path) -> None:
    change(copy, quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(SourceError, match=r"float weights; .*quantized already"):
        find(str(copy)).open(copy / "cache")


def test_pickled_weights_are_not_read(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"pytorch_model.bin. Pickled weights can run code"):
        find(str(copy)).open(copy / "cache")


def test_a_folder_with_an_exported_graph_alone_asks_for_that_file(copy: Path) -> None:
    (copy / "onnx").mkdir()
    (copy / "model.safetensors").rename(copy / "onnx" / "model.onnx")
    with pytest.raises(SourceError, match=r"Give the ONNX file itself: .*onnx/model\.onnx"):
        find(str(copy)).open(copy / "cache")


def test_a_folder_without_weights_asks_for_them(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"Copy model.safetensors into it"):
        find(str(copy)).open(copy / "cache")


def test_a_head_without_trained_weights_is_refused(copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    kept = {k: v for k, v in weights.items() if not k.startswith("classifier")}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"without classifier.bias, classifier.weight.*random"):
        find(str(copy)).open(copy / "cache")


def test_truncated_weights_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"loads from .*; received SafetensorError"):
        find(str(copy)).open(copy / "cache")


@pytest.mark.parametrize(
    ("settings", "task"),
    [
        ({"architectures": ["ViTForImageClassification"]}, "image-classification"),
        ({"architectures": ["BertForSequenceClassification"]}, "text-classification"),
        ({"architectures": ["BertForMaskedLM"]}, None),
        ({"architectures": ["BertForSequenceClassification"], "problem_type": "regression"}, None),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "score"}}, None),
        ({}, None),
    ],
)
def test_a_task_is_named_for_classifiers_alone(settings: dict[str, Any], task: str | None) -> None:
    from gossamer.sources.huggingface import _task

    assert _task(settings) == task


def test_a_hub_that_cannot_be_reached_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"'no-one/no-model', which is also no path.*network"):
        find("no-one/no-model").open(tmp_path / "cache")


def test_a_language_model_is_judged_by_its_next_tokens_and_fuses(tmp_path: Path) -> None:
    import torch
    import transformers

    from gossamer.run import fused, save

    config = transformers.GPT2Config(vocab_size=100, n_positions=64, n_embd=64, n_layer=2, n_head=2)
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")

    opened = find(str(tmp_path / "gpt2")).open(tmp_path / "cache")

    assert opened.task == "causal-lm"
    graph = fused(opened, "ort-cpu")
    ops = [node.op_type for node in graph.graph]
    assert ops.count("MultiHeadAttention") == 2
    assert "Gemm" not in ops
    save(graph, tmp_path / "fused" / "model.onnx")
    names = [tensor.name for tensor in opened.inputs]
    ids = np.random.default_rng(0).integers(0, 100, (2, 9))
    feed = {name: ids if name == "input_ids" else np.ones_like(ids) for name in names}
    plain, fast = (
        outputs_on_ort(path, [feed])[0]["logits"]
        for path in (opened.path, tmp_path / "fused" / "model.onnx")
    )
    np.testing.assert_allclose(fast, plain, atol=1e-4)
