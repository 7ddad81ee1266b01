"""A trained transformer teaches one with a third of its layers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from gossamer.errors import TrainingError  # noqa: E402
from gossamer.train.losses.attention_maps import AttentionMaps  # noqa: E402
from gossamer.train.losses.layer_pairs import LayerPairs  # noqa: E402
from gossamer.train.losses.logits import Logits  # noqa: E402
from gossamer.train.losses.relations import Relations  # noqa: E402
from gossamer.train.techniques.distill import Distill  # noqa: E402
from gossamer.train.tokens import check_same_tokens  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def minilm(real: Path) -> tuple[Any, dict[str, Any]]:
    """The model with attention that gives its maps, and 16 labelled sentences."""
    folder = real / "minilm_sst2"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    lines = (real / "text" / "sst2_train.tsv").read_text(encoding="utf-8").splitlines()[:16]
    rows = [line.rsplit("\t", 1) for line in lines]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    inputs = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")
    labels = torch.tensor([int(label) for _, label in rows])
    return model, {**inputs, "labels": labels}


def with_layers(teacher: Any, kept: tuple[int, ...], implementation: str = "eager") -> Any:
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(kept)
    student = type(teacher)._from_config(config, attn_implementation=implementation)
    student.load_state_dict(teacher.state_dict(), strict=False)
    for mine, theirs in enumerate(kept):
        own, source = student.bert.encoder.layer[mine], teacher.bert.encoder.layer[theirs]
        own.load_state_dict(source.state_dict())
    return student.train()


@pytest.mark.parametrize(
    "losses", [(Logits(), Relations()), (Logits(), LayerPairs(weight=0.1), AttentionMaps())]
)
def test_two_of_six_layers_learn_from_all(minilm: Any, losses: Any) -> None:
    teacher, inputs = minilm
    student = with_layers(teacher, (2, 5))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
    torch.manual_seed(0)
    curve = []

    technique = Distill(losses=losses)
    with technique.attach(
        student, optimizer, teacher=teacher, batches=lambda: iter([inputs])
    ) as attachment:
        for _ in range(8):
            loss = attachment.loss(student(**inputs).loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())

    assert curve[-1] < 0.9 * curve[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_attention_that_gives_no_maps_is_refused_with_what_to_do(minilm: Any) -> None:
    teacher, inputs = minilm
    student = with_layers(teacher, (2, 5), "sdpa")
    with Distill(losses=(AttentionMaps(),)).attach(student, teacher=teacher) as attachment:
        loss = student(**inputs).loss
        with pytest.raises(TrainingError, match="attn_implementation='eager'"):
            attachment.loss(loss)


def test_a_model_reads_the_tokens_that_it_reads(real: Path) -> None:
    check_same_tokens(real / "minilm_sst2", real / "minilm_sst2")
