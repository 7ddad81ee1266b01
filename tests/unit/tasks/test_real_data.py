"""Real data sets are read as their reference scorer reads them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gossamer.source import FloatModel
from gossamer.task import DataRequest, TaskData
from gossamer.tasks import choose
from zoo.judged import model, tensor, text_model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def opened(name: str, signature: FloatModel, path: Path, **options: object) -> TaskData:
    return choose(name, signature, options).open(DataRequest(model=signature, path=path))


def test_cifar10_has_the_splits_of_its_folders_and_the_published_preprocessing(
    real: Path,
) -> None:
    signature = model(tensor("image", "batch", 3, 32, 32))

    data = opened("image-classification", signature, real / "cifar10", mean=MEAN, std=STD)

    assert [len(s) for s in (data.calibration, data.search, data.report)] == [128, 4872, 2000]
    samples: Any = data.report.samples
    index = samples.files.index(real / "cifar10" / "test" / "cat" / "0007.jpg")
    pixels = np.asarray(Image.open(samples.files[index]).convert("RGB"), np.float32) / 255
    wanted = ((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(samples.feed(index)["image"], wanted, atol=1e-5)
    assert samples.label(index) == 3


def test_squeezenets_preprocessing_can_be_said(real: Path) -> None:
    signature = model(tensor("input", "batch", 3, 227, 227))

    data = opened(
        "image-classification", signature, real / "imagenet_sample",
        crop=227, channel_order="bgr", scale=1.0, mean="104,117,123",
    )  # fmt: skip

    samples: Any = data.report.samples
    with (real / "imagenet_sample" / "labels.csv").open() as file:
        row = list(csv.DictReader(file))[11]
    path = real / "imagenet_sample" / "images" / row["file"]
    pixels = np.asarray(Image.open(path).convert("RGB").crop((14, 14, 241, 241)), np.float32)
    wanted = (pixels[:, :, ::-1] - np.float32([104, 117, 123])).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(samples.feed(11)["input"], wanted)
    assert samples.label(11) == int(row["label"])


@pytest.mark.parametrize(
    ("file", "count", "columns"),
    [
        ("sst2_dev.tsv", 872, "text=0,label=1"),
        ("sst2_train.tsv", 6920, "text=0,label=1"),
        ("sst2_test.tsv", 1821, "text=0,label=1"),
        ("cola_in_domain_dev.tsv", 527, "text=3,label=1"),
        ("cola_in_domain_train.tsv", 8551, "text=3,label=1"),
        ("msr-para-train.tsv", 3576, "text=#1 String,pair=#2 String,label=Quality"),
        ("msr-para-test.tsv", 1725, "text=#1 String,pair=#2 String,label=Quality"),
        ("rte_dev.tsv", 139, "text=sentence1,pair=sentence2,label=label"),
        ("rte_train.tsv", 1244, "text=sentence1,pair=sentence2,label=label"),
        ("stsb-en-dev.csv", 1500, "text=0,pair=1,label=2"),
        ("stsb-en-test.csv", 1379, "text=0,pair=1,label=2"),
        ("stsb-en-train.csv", 5749, "text=0,pair=1,label=2"),
    ],
)
def test_text_files_are_read_without_being_told_their_columns(
    real: Path, file: str, count: int, columns: str
) -> None:
    pytest.importorskip("tokenizers")
    signature = text_model(real / "minilm_sst2", classes=1 if "stsb" in file else 2)

    data = opened("text-classification", signature, real / "text" / file)

    assert len(data.calibration) + len(data.search) + len(data.report) == count
    assert dict(data.description)["columns"] == columns


@pytest.mark.torch
@pytest.mark.parametrize("file", ["sst2_dev.tsv", "msr-para-test.tsv"])
def test_tokens_equal_those_of_transformers(real: Path, file: str) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(real / "minilm_sst2")
    signature = text_model(real / "minilm_sst2")

    samples: Any = opened(
        "text-classification", signature, real / "text" / file, length=48
    ).search.samples

    for index in range(0, len(samples), 5):
        row = samples.texts[index]
        wanted = theirs(row.text, row.pair, truncation=True, max_length=48)
        found = samples.feed(index)
        assert {k: v[0].tolist() for k, v in found.items()} == {k: wanted[k] for k in found}
