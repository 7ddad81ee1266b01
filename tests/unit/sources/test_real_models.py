"""Trained models as they lie about in the world: other exporters, old opsets, half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from gossamer.sources import find


@pytest.mark.parametrize(
    ("name", "opset"),
    [
        ("cifar10/resnet20.onnx", "18"),
        ("cifar10/resnet56.onnx", "18"),
        ("imagenet_sample/squeezenet.onnx", "17, moved to 18 (outputs equal to the bit)"),
        ("coco128/yolox_nano.onnx", "11, moved to 18 (outputs equal to the bit)"),
        ("coco128/prisma_person.onnx", "7, moved to 18 (outputs equal to the bit)"),
        ("faces/ultraface_rfb320.onnx", "9, moved to 18 (outputs equal to the bit)"),
        ("speech_commands/kwt1.onnx", "18"),
        ("stories260k/stories260k.onnx", "17, moved to 18 (outputs equal to the bit)"),
    ],
)
def test_it_opens_in_opset_18_with_one_input(
    real: Path, tmp_path: Path, name: str, opset: str
) -> None:
    model = find(str(real / name)).open(tmp_path)

    assert dict(model.description)["opset"] == opset
    assert len(model.inputs) == 1
    assert onnx.load(model.path).opset_import[0].version == 18


@pytest.mark.torch
@pytest.mark.slow
def test_the_half_precision_classifier_keeps_its_accuracy(real: Path, tmp_path: Path) -> None:
    import onnxruntime as ort
    import tokenizers

    model = find(str(real / "minilm_sst2")).open(tmp_path)
    tokenizer = tokenizers.Tokenizer.from_file(str(real / "minilm_sst2" / "tokenizer.json"))
    session = ort.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
    rows = (real / "text" / "sst2_dev.tsv").read_text(encoding="utf-8").splitlines()
    hits = []
    for row in rows:
        text, label = row.rsplit("\t", 1)
        code = tokenizer.encode(text)
        feed = {
            "input_ids": np.array([code.ids]),
            "attention_mask": np.array([code.attention_mask]),
            "token_type_ids": np.array([code.type_ids]),
        }
        hits.append(int(session.run(None, feed)[0].argmax()) == int(label))

    assert model.task == "text-classification"
    assert np.mean(hits) == pytest.approx(0.8807, abs=1e-4)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "attentions"),
    [
        ("resnet50", 0),
        ("mobilenetv2", 0),
        ("convnext_tiny", 0),
        ("vit_b16", 12),
        ("bert_base", 12),
        ("distilbert", 6),
        ("minilm_l6", 6),
    ],
)
def test_an_architecture_of_the_benchmarks_exports_with_attentions_that_fuse(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, attentions: int
) -> None:
    import onnx_ir as ir
    from onnxscript.rewriter.ort_fusions import optimize_for_ort

    monkeypatch.chdir(repository)
    model = find(f"benchmarks.models:{name}").open(tmp_path)
    _, counts = optimize_for_ort(ir.load(model.path))

    assert counts["attention"] == attentions
    assert {t.shape[0] for t in (*model.inputs, *model.outputs) if t.shape} == {"batch"}
