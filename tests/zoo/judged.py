"""Signatures of models and data on disk for every task, all tiny and made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gossamer.source import Dimension, FloatModel, TensorType

WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
    *("a", "b", "c", "d", "good", "bad", "dull", "fine", "film", "play", "."),
)


def tensor(name: str, *shape: Dimension, dtype: str = "float32") -> TensorType:
    return TensorType(name=name, dtype=dtype, shape=shape)


def model(
    *inputs: TensorType,
    outputs: tuple[TensorType, ...] = (),
    folder: Path | None = None,
    path: Path = Path("no-such-folder/model.onnx"),
    task: str | None = None,
) -> FloatModel:
    """A signature without a file behind it: no task opens the model unless it makes up ids."""
    return FloatModel(
        path=path,
        inputs=inputs or (tensor("x", "batch", 3),),
        outputs=outputs or (tensor("logits", "batch", 3),),
        digest="0" * 64,
        folder=folder,
        task=task,
    )


def image_model(side: int = 8, **more: Any) -> FloatModel:
    return model(tensor("image", "batch", 3, side, side), **more)


def text_model(folder: Path, classes: int = 2, **more: Any) -> FloatModel:
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [tensor(n, "batch", "sequence", dtype="int64") for n in names]
    return model(*inputs, outputs=(tensor("logits", "batch", classes),), folder=folder, **more)


def write_images(
    root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 4, side: int = 8
) -> Path:
    """Class folders of images; every image has one colour that tells class and place."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            colour = (40 * c + 10, 10 * i, 200)
            Image.new("RGB", (side, side), colour).save(root / name / f"{i}.png")
    return root


def write_arrays(path: Path, count: int = 12, **arrays: Any) -> Path:
    """An `.npz` for the default `model()`, with labels 0, 1, 2 in turn."""
    rng = np.random.default_rng(1)
    values = {"x": rng.standard_normal((count, 3)), "labels": np.arange(count) % 3, **arrays}
    np.savez(path, **{k: v for k, v in values.items() if v is not None})
    return path


def write_texts(path: Path, count: int = 12) -> Path:
    lines = [f"a {'good' if i % 2 else 'bad'} film {i}\t{i % 2}" for i in range(count)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_tokenizer(folder: Path, **config: Any) -> Path:
    """A Hugging Face folder's text half: whole words, one special token at each end."""
    folder.mkdir(parents=True, exist_ok=True)
    special = [
        {"id": i, "content": WORDS[i], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i in range(4)
    ]  # fmt: skip
    cls, sep = ({"SpecialToken": {"id": n, "type_id": 0}} for n in ("[CLS]", "[SEP]"))
    first, second = ({"Sequence": {"id": n, "type_id": i}} for i, n in enumerate("AB"))
    end = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    tokens = {n: {"id": n, "ids": [WORDS.index(n)], "tokens": [n]} for n in ("[CLS]", "[SEP]")}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [cls, first, sep],
            "pair": [cls, first, sep, second, end],
            "special_tokens": tokens,
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: i for i, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    settings = {"pad_token": "[PAD]", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
